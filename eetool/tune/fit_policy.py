"""Policy fits for checkpoints and bundles, on logits from torch or from the runtime."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from eetool.data.source import Source, check_classes
from eetool.data.splits import CERTIFICATE, TEMPERATURE, THRESHOLD, recorded_split
from eetool.data.views import take_examples
from eetool.data.vocabulary import use_model_vocabulary
from eetool.errors import BudgetError, UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.goals import TuningGoals
from eetool.progress import SILENT, Progress
from eetool.tune.calibration import PLATT, Calibration
from eetool.tune.calibration import TEMPERATURE as TEMPERATURE_SCALING
from eetool.tune.cross_fitting import LabelledLogits
from eetool.tune.exit_costs import manifest_macs
from eetool.tune.fit_streams import StreamCosts, fit_streams, stream_block
from eetool.tune.operating_points import (
    CertificateGoal,
    PointFit,
    TuningResult,
    accuracy_drop,
    certified_point,
    fastest_point,
)
from eetool.tune.outputs import Answers, predict_in_chunks, runtime_answers
from eetool.tune.point_names import BUDGET, CERTIFIED, FAST, FULL, drop_limits
from eetool_runtime import Bundle
from eetool_runtime.loading import load_to_judge
from eetool_runtime.manifest import Data, Manifest, OperatingPoint, Variant


@dataclass(frozen=True)
class EarlierFit:
    """Fit of the same goals on another variant. A refit has the same operating points by name.

    A goal that this variant cannot keep is not an error then: its point keeps the accuracy drop of the earlier fit.

    Attributes:
        points: operating points of the earlier fit.
        unpriced: reason why the costs that the goals name are not known for this variant; null where they are known.
        required: points whose goals must be kept all the same.
    """

    points: Mapping[str, OperatingPoint]
    unpriced: str | None = None
    required: frozenset[str] = frozenset()


def fit_policy(
    source: Source,
    data: Data | None,
    answers_of: Answers,
    costs: CascadeCosts,
    macs: CascadeCosts,
    goals: TuningGoals,
    score: str = MAX_SOFTMAX,
    progress: Progress = SILENT,
    earlier: EarlierFit | None = None,
    held: LabelledLogits | None = None,
) -> TuningResult:
    """Fit a policy on the temperature and threshold splits of `source`, proved to be those that `data` records.

    Both splits together serve calibration and thresholds, see `eetool.tune.cross_fitting`.

    Args:
        source: examples and labels.
        data: the data that the model records.
        answers_of: maps examples to the model's outputs.
        costs: costs that the thresholds minimise.
        macs: MACs, for the expected figures.
        goals: limits of the operating points.
        score: gate score.
        progress: observer.
        earlier: fit of the same goals on another variant; goals that cannot be kept become warnings.
        held: outputs for the held-out examples, see `predict_held_out`, where they are known already.

    Raises:
        ArtefactError: the model records no such data, or no certificate split for a certificate.
        BudgetError: a goal cannot be kept, and there is no earlier fit.
    """
    certificate = None
    if goals.certify is not None:
        certificate = _predict_split(source, CERTIFICATE, data, answers_of, progress)
    held = predict_held_out(source, data, answers_of, progress) if held is None else held
    method = goals.calibration or TEMPERATURE_SCALING
    points = PointFit(held, costs, macs, score, method, goals.standard_errors)
    fit = _GoalFit(points, held, costs, macs, goals, score, earlier)
    fitted = {FULL: points.full_depth(), **points.within_drops(drop_limits(goals.max_accuracy_drop, goals.drops))}
    fit.points.update(fitted)
    fit.add(BUDGET, fit.budget if goals.budget is not None else None)
    fit.add(CERTIFIED, partial(fit.certified, certificate) if certificate is not None else None)
    for name in earlier.points if earlier is not None else ():
        if name not in fit.points:
            fit.points[name] = fit.same_drop(name)
    tuned = points.result(fit.points, fit.warnings)
    if goals.max_reaction_s is not None:
        tuned = _with_streams(tuned, source, data, answers_of, StreamCosts(costs, macs), goals, progress, earlier)
    return replace(tuned, default=fastest_point(tuned, costs, goals))


def _with_streams(
    tuned: TuningResult,
    source: Source,
    data: Data | None,
    answers_of: Answers,
    costs: StreamCosts,
    goals: TuningGoals,
    progress: Progress,
    earlier: EarlierFit | None,
) -> TuningResult:
    """Return a result with operating points for streams; a refit without one that reacts in time has a warning."""
    try:
        stream, lines = fit_streams(source, data, answers_of, tuned.calibration.temperatures, costs, goals, progress)
    except BudgetError as error:
        if earlier is None:
            raise
        return replace(tuned, warnings=(*tuned.warnings, f"no operating points for streams: {error.message}"))
    return replace(tuned, stream=stream, warnings=(*tuned.warnings, *lines))


def predict_held_out(source: Source, data: Data | None, answers_of: Answers, progress: Progress) -> LabelledLogits:
    """Return the outputs for the examples that policies are fitted on, the splits of temperatures and thresholds."""
    first, second = (_predict_split(source, split, data, answers_of, progress) for split in (TEMPERATURE, THRESHOLD))
    return first.join(second)


def _predict_split(
    source: Source, split: str, data: Data | None, answers_of: Answers, progress: Progress
) -> LabelledLogits:
    indices = recorded_split(source, split, data)
    with progress(f"answers, {split} split", len(indices)) as advance:
        logits, learned = predict_in_chunks(answers_of, take_examples(source, indices), advance)
    return LabelledLogits(logits, source.labels[indices], learned)


@dataclass
class _GoalFit:
    """Points of single goals. `warnings` holds the goals that were not kept."""

    fit: PointFit
    held: LabelledLogits
    costs: CascadeCosts
    macs: CascadeCosts
    goals: TuningGoals
    score: str
    earlier: EarlierFit | None
    points: dict[str, OperatingPoint] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, fit: Callable[[], OperatingPoint] | None) -> None:
        """Add the point that `fit` returns. A refit turns a goal that cannot be kept into a warning."""
        if fit is None:
            return
        try:
            self.points[name] = fit()
        except BudgetError as error:
            if self.earlier is None or name in self.earlier.required:
                raise
            self.warnings.append(f"`{name}` is not kept: {error.message}")
            self.points[name] = self.same_drop(name)

    def budget(self) -> OperatingPoint:
        """Return the point of the budget."""
        assert self.goals.budget is not None
        if self.earlier is not None and self.earlier.unpriced is not None:
            raise BudgetError(self.earlier.unpriced)
        return self.fit.within_budget(self.goals.budget, self.goals.max_accuracy_drop)

    def certified(self, certificate: LabelledLogits) -> OperatingPoint:
        """Return the certified point, proved on the split `certificate`."""
        assert self.goals.certify is not None
        promise = CertificateGoal(self.goals.max_accuracy_drop, self.goals.certify)
        calibration = self.fit.cross_fit.calibration
        return certified_point(calibration, self.held, certificate, self.costs, self.macs, promise, self.score)

    def same_drop(self, name: str) -> OperatingPoint:
        """Return the cheapest point within the drop that `name` had in the earlier fit.

        Without a certificate `certified` is full depth: only that loses nothing for certain. Where the drop is not
        known, the thresholds are those of `fast`.
        """
        if name == CERTIFIED:
            self.warnings.append(f"`{name}` is full depth, without a certificate")
            return self.points[FULL]
        known = self.earlier.points if self.earlier is not None else {}
        drop = accuracy_drop(known, name) if name in known else None
        if drop is None:
            self.warnings.append(f"`{name}` has the thresholds of `{FAST}`")
            return self.points[FAST]
        self.warnings.append(f"`{name}` has the accuracy drop of the earlier fit, {drop:.2f} points")
        return self.fit.within_drops({name: drop})[name]


def tune_bundle(
    bundle: Bundle,
    variant: str,
    source: Source,
    goals: TuningGoals | float,
    priced: CascadeCosts | None = None,
    progress: Progress = SILENT,
    earlier: EarlierFit | None = None,
) -> tuple[Manifest, TuningResult]:
    """Return the manifest of `bundle` with a policy fitted on the outputs of one of its variants.

    Args:
        bundle: an opened bundle.
        variant: one of its variants.
        source: the data that the bundle records.
        goals: limits of the operating points; a number alone is the accuracy drop.
        priced: costs on a device, to minimise these; by default MACs are minimised.
        progress: observer.
        earlier: fit of the same goals on another variant, see `fit_policy`.

    Raises:
        UsageError: the calibration method is not that of the graphs.
        ArtefactError, BudgetError: see `fit_policy`.
    """
    goals = goals if isinstance(goals, TuningGoals) else TuningGoals(goals)
    manifest = bundle.manifest
    method = PLATT if manifest.exits[0].slope is not None else TEMPERATURE_SCALING
    if goals.calibration not in (None, method):
        raise UsageError(
            f"the calibration of a bundle is part of its graphs, and this one's is {method}",
            "Tune its model.pt with --calibration and export that.",
        )
    goals, before = replace(goals, calibration=method), manifest.variants[variant]
    calibrated = Calibration(before.temperatures, before.slopes, before.offsets)
    macs = manifest_macs(manifest)
    costs = priced or macs
    answers_of = runtime_answers(load_to_judge(bundle, variant=variant), calibrated)
    check_classes(source, manifest.labels, str(bundle.path))
    source = use_model_vocabulary(source, manifest.inputs)
    tuned = fit_policy(source, manifest.data, answers_of, costs, macs, goals, manifest.score, progress, earlier)
    fitted: Variant = replace(
        before,
        temperatures=tuned.calibration.temperatures,
        slopes=tuned.calibration.slopes,
        offsets=tuned.calibration.offsets,
        operating_points=tuned.operating_points,
    )
    variants = {**manifest.variants, variant: fitted}
    # A default that another variant lacks would make the bundle unreadable.
    everywhere = all(tuned.default in v.operating_points for v in variants.values())
    default = tuned.default if everywhere else manifest.default_operating_point
    changed = replace(
        manifest, variants=variants, default_operating_point=default, max_accuracy_drop=goals.max_accuracy_drop
    )
    if tuned.stream is not None:
        changed = replace(changed, stream=stream_block(tuned.stream, {variant: tuned.stream.points}, manifest.stream))
    return changed, replace(tuned, default=default)
