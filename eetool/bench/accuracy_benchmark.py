"""Accuracy and exit shares of a variant that another machine runs, and the document `accuracy_bench/1`.

Its engine computes here what a microcontroller computes, and takes another time for it. So there is no latency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.benchmark import DataUsed, data_used
from eetool.bench.example_forms import example_forms
from eetool.bench.exit_metrics import ExitFigures, exit_figures
from eetool.bench.intervals import difference_interval
from eetool.bench.predicted_sets import PredictedSets, make_sets, predict_sets
from eetool.bench.predictions import WayPredictions
from eetool.bench.ways import EARLY_EXIT, WayLabel
from eetool.data.source import Source, check_classes
from eetool.data.vocabulary import use_model_vocabulary
from eetool.errors import UsageError
from eetool.metrics import expected_calibration_error
from eetool.progress import SILENT, Progress
from eetool.targets import is_untimed
from eetool_runtime.backends import backend_for
from eetool_runtime.bundle import Bundle

SCHEMA = "accuracy_bench/1"


@dataclass(frozen=True)
class AccuracyRow:
    """Figures of one way on `n` inputs; those against the reference are 1, 0 and their intervals for itself.

    Attributes:
        kind: `unsplit`, the bundle's network without exits, or `early_exit`.
        operating_point: null for the network without exits.
        agreement: share of the inputs with the same prediction as the reference, right or wrong.
        accuracy_difference: accuracy less that of the reference, in percentage points.
        exit_shares: share of the inputs that left at each exit; like `mean_exit_depth` null for the network without
            exits.
        mean_macs: of everything that ran.
        ece: expected calibration error, 15 bins.
    """

    name: str
    kind: str
    operating_point: str | None
    accuracy: float
    agreement: float
    n: int
    accuracy_difference: float
    accuracy_difference_ci95: tuple[float, ...]
    exit_shares: tuple[float, ...] | None
    mean_exit_depth: float | None
    mean_macs: float | None
    ece: float


@dataclass(frozen=True)
class AccuracyBench:
    """The document `accuracy_bench/1`.

    Attributes:
        ways: one row per way.
        reference: name of the way that differences are against.
        bundle: name of the bundle.
        variant: the variant that ran.
        engine: name and version.
        data: the examples.
        labels: names of the classes.
        exits: every exit, run on every input, with the thresholds of the default operating point.
        latency_ms: always null.
    """

    ways: tuple[AccuracyRow, ...]
    reference: str
    bundle: str
    variant: str
    engine: dict[str, str]
    data: DataUsed
    labels: tuple[str, ...]
    exits: tuple[ExitFigures, ...]
    latency_ms: None = None


def untimed_variant(variants: Sequence[str]) -> str | None:
    """Return the variant to judge without its latency; None where all are to be timed.

    Raises:
        UsageError: there are variants of both kinds, or several without latency.
    """
    untimed = [variant for variant in variants if is_untimed(variant)]
    if not untimed:
        return None
    if len(variants) > 1:
        raise UsageError(f"{untimed[0]} has no latency here, so it is not compared with others", "Run it alone.")
    return untimed[0]


def bench_accuracy(
    bundle: Bundle, variant: str, source: Source, indices: np.ndarray, split: str, progress: Progress = SILENT
) -> AccuracyBench:
    """Run one variant of `bundle` at all operating points, and unsplit.

    Args:
        bundle: opened bundle.
        variant: the variant.
        source: data source.
        indices: examples of the source, those of its split `split`.
        split: name of the split.
        progress: shows the steps.

    Raises:
        ArtefactError: the bundle has no unsplit reference or takes other inputs.
        BackendError: the engine of the variant is missing.
    """
    manifest = bundle.manifest
    source = use_model_vocabulary(source, manifest.inputs)
    check_classes(source, manifest.labels, str(bundle.path))
    sets = make_sets(bundle, [variant], example_forms(bundle, source, indices, None), [], threads=1)
    predicted = predict_sets(sets, keep=False, required=True, progress=progress)
    labels, backend = source.labels[indices], backend_for(variant.split("/")[0])
    thresholds = bundle.variant(variant).operating_points[manifest.default_operating_point].thresholds
    return AccuracyBench(
        ways=_rows(predicted, labels, len(manifest.exits)),
        reference=predicted.reference,
        bundle=manifest.name,
        variant=variant,
        engine={backend.name: backend.version},
        data=data_used(source, split, indices),
        labels=manifest.labels,
        exits=exit_figures(predicted.exits[variant], labels, indices, thresholds),
    )


def _rows(predicted: PredictedSets, labels: np.ndarray, exits: int) -> tuple[AccuracyRow, ...]:
    reference = predicted.ways[predicted.reference]
    return tuple(
        _row(label, predicted.ways[name], reference, labels, exits) for name, label in predicted.labels.items()
    )


def _row(
    label: WayLabel, way: WayPredictions, reference: WayPredictions, labels: np.ndarray, exits: int
) -> AccuracyRow:
    right, other = way.classes == labels, reference.classes == labels
    taken = way.exits if label.kind == EARLY_EXIT else None
    macs = None if label.macs is None else float(np.mean([label.macs[int(k)] for k in way.strata]))
    return AccuracyRow(
        name=label.name,
        kind=label.kind,
        operating_point=label.operating_point,
        accuracy=float(right.mean()),
        agreement=float((way.classes == reference.classes).mean()),
        n=len(labels),
        accuracy_difference=100 * float(right.mean() - other.mean()),
        accuracy_difference_ci95=difference_interval(right, other),
        exit_shares=None if taken is None else tuple((np.bincount(taken, minlength=exits) / len(taken)).tolist()),
        mean_exit_depth=None if taken is None else float(taken.mean()),
        mean_macs=macs,
        ece=expected_calibration_error(way.probability, right),
    )
