"""`tune` for a checkpoint and for a finished bundle: the same fit on logits from torch or from the runtime."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eetool.data.model_inputs import model_inputs
from eetool.data.registry import Source
from eetool.data.splits import CERTIFICATE, TEMPERATURE, THRESHOLD, recorded_split
from eetool.errors import UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.progress import SILENT, Advance, Progress
from eetool.tune.calibration import PLATT, Calibration
from eetool.tune.calibration import TEMPERATURE as TEMPERATURE_SCALING
from eetool.tune.exit_costs import manifest_macs
from eetool.tune.operating_points import (
    BALANCED,
    BUDGET,
    CERTIFIED,
    Budget,
    CertificateGoal,
    LabelledLogits,
    TuningResult,
    budget_point,
    certified_point,
    drop_points,
    fit_operating_points,
)
from eetool_runtime import Bundle, load
from eetool_runtime.manifest import Data, Manifest, Variant

# examples (n, …) of a source to the logits of every exit (exits, n, classes) and learned confidences (early exits, n)
Answers = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
_BATCH = 64
_PIECE = 4 * _BATCH  # examples between two steps of the progress


@dataclass(frozen=True)
class TuningGoals:
    """What a policy is to keep to: see `tune`, `drop_points`, `budget_point` and `CertificateGoal` in `eetool.tune.operating_points`.

    `calibration` is the method; null for that of the model, if it was tuned before. `standard_errors` is by how many a
    drop on the split stays below its limit.
    """

    max_accuracy_drop: float
    certify: float | None = None
    drops: tuple[float, ...] = ()
    budget: Budget | None = None
    calibration: str | None = None
    standard_errors: float = 1.0


def fit_policy(
    source: Source,
    data: Data | None,
    answers_of: Answers,
    costs: CascadeCosts,
    macs: CascadeCosts,
    aims: TuningGoals,
    score: str = MAX_SOFTMAX,
    progress: Progress = SILENT,
) -> TuningResult:
    """Fit on the temperature and threshold splits of `source`, proved to be those that `data` records.

    Raises:
        ArtefactError: the model records no such data, or no certificate split where a certificate is asked for.
        BudgetError: the certificate split cannot support the promise.
    """

    def answered(split: str) -> LabelledLogits:
        indices = recorded_split(source, split, data)
        with progress(f"answers, {split} split", len(indices)) as advance:
            logits, learned = _in_pieces(answers_of, source.inputs[indices], advance)
        return LabelledLogits(logits, source.labels[indices], learned)

    held = answered(CERTIFICATE) if aims.certify is not None else None
    threshold = answered(THRESHOLD)
    method = aims.calibration or TEMPERATURE_SCALING
    tuned = fit_operating_points(
        answered(TEMPERATURE), threshold, costs, macs, aims.max_accuracy_drop, score, method, aims.standard_errors
    )
    more = drop_points(tuned, threshold, costs, macs, aims.drops, score, aims.standard_errors)
    if aims.budget is not None:
        more[BUDGET] = budget_point(tuned, threshold, costs, macs, aims.budget, aims.max_accuracy_drop, score)
    if held is not None and aims.certify is not None:
        promise = CertificateGoal(aims.max_accuracy_drop, aims.certify)
        more[CERTIFIED] = certified_point(tuned, threshold, held, costs, macs, promise, score)
    return replace(tuned, operating_points={**tuned.operating_points, **more})


def _in_pieces(answers_of: Answers, examples: np.ndarray, advance: Advance) -> tuple[np.ndarray, np.ndarray | None]:
    """All answers at once, though they come in pieces."""
    logits, learned = [], []
    for i in range(0, len(examples), _PIECE):
        answers, sure = answers_of(examples[i : i + _PIECE])
        logits.append(answers)
        learned += [] if sure is None else [sure]
        advance(answers.shape[1])
    return np.concatenate(logits, 1), np.concatenate(learned, 1) if learned else None


def tune_bundle(
    bundle: Bundle,
    variant: str,
    source: Source,
    aims: TuningGoals | float,
    priced: CascadeCosts | None = None,
    progress: Progress = SILENT,
) -> tuple[Manifest, TuningResult]:
    """The manifest of `bundle` with a policy fitted on the outputs of one of its variants.

    Args:
        priced: costs on a device, to minimise these; by default MACs are minimised.
        aims: a number alone is the accuracy drop.

    Raises:
        UsageError: Platt's calibration is asked for, and the graphs have no inputs for it, or the other way round.
    """
    aims = aims if isinstance(aims, TuningGoals) else TuningGoals(aims)
    manifest = bundle.manifest
    method = PLATT if manifest.exits[0].slope is not None else TEMPERATURE_SCALING
    if aims.calibration not in (None, method):
        raise UsageError(
            f"the calibration of a bundle is part of its graphs, and this one's is {method}",
            "Tune its model.pt with --calibration and export that.",
        )
    aims, before = replace(aims, calibration=method), manifest.variants[variant]
    calibrated = Calibration(before.temperatures, before.slopes, before.offsets)
    macs = manifest_macs(manifest)
    costs = priced or macs
    model = load(bundle, variant=variant)

    def answers_of(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inputs = model_inputs(images, manifest.inputs[0])
        parts = [model.every_exit(inputs[i : i + _BATCH]) for i in range(0, len(inputs), _BATCH)]
        logits, sure = (
            np.stack([np.concatenate([p[i][what] for p in parts]) for i in range(len(manifest.exits))])
            for what in (0, 1)
        )
        return logits, calibrated.undo(sure[:-1]) if calibrated.slopes else sure[:-1]

    tuned = fit_policy(source, manifest.data, answers_of, costs, macs, aims, manifest.score, progress)
    fitted: Variant = replace(
        before,
        temperatures=tuned.calibration.temperatures,
        slopes=tuned.calibration.slopes,
        offsets=tuned.calibration.offsets,
        operating_points=tuned.operating_points,
    )
    variants = {**manifest.variants, variant: fitted}
    everywhere = all(BALANCED in v.operating_points for v in variants.values())
    return (
        replace(
            manifest,
            variants=variants,
            # A default that another variant lacks would make the bundle unreadable.
            default_operating_point=BALANCED if everywhere else manifest.default_operating_point,
            max_accuracy_drop=aims.max_accuracy_drop,
        ),
        tuned,
    )
