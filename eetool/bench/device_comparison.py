"""Networks compared on a device, from its latency table, with a verdict: the document `predict/2`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from eetool.accuracy_difference import Interval
from eetool.bench.comparison import Remedy, examples_remedy
from eetool.bench.device_accuracy import AccuracyOnData, DataResults
from eetool.bench.intervals import difference_interval
from eetool.bench.verdict import Verdict, judge
from eetool.errors import ArtefactError, UsageError
from eetool.latency.estimate.coverage import unknown_shares
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.estimate.network_estimates import (
    NetworkEstimate,
    PointPlan,
    estimate_graph,
    estimate_networks,
    recorded_plans,
)
from eetool.latency.estimate.prediction_target import PredictionTarget
from eetool.latency.estimate.predictor import Prediction, Predictor
from eetool.latency.kernels.kernel import Kernel
from eetool.model.spec import ExpectedDrop

UNSPLIT, POINT, RIVAL = "unsplit", "operating_point", "rival"
FULL = "full"
MAX_ACCURACY_DROP = 1.0  # percentage points, where neither the user nor the model gives a limit
_WIDEST = (1e-6, 1e6)  # interval of a ratio of which nothing is known, with numbers that JSON has


@dataclass(frozen=True)
class DeviceRow:
    """One network on the device.

    Attributes:
        role: `unsplit`, `operating_point` or `rival`.
        latency_ms: mean latency; null where it cannot be predicted.
        interval_ms: its 90 % interval; empty likewise.
        latency_ratio: the latency over that of unsplit.
        latency_ratio_ci95: interval of the ratio, narrower than that of two independent latencies.
        accuracy: in [0, 1]; null where it is not known.
        n: number of examples of the accuracy.
        exit_shares: of an operating point.
        reason: why there is no latency.
    """

    name: str
    role: str
    latency_ms: float | None
    interval_ms: tuple[float, ...]
    latency_ratio: float | None
    latency_ratio_ci95: tuple[float, ...]
    accuracy: float | None
    n: int
    energy_mj: Energy
    exit_shares: tuple[float, ...] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class MissingVariant:
    """A variant of the bundle without figures for the device."""

    variant: str
    reason: str


@dataclass(frozen=True)
class DeviceComparison:
    """Networks on a device, and the verdict for it.

    Attributes:
        rows: unsplit, the operating points, then the rivals.
        verdict: null for a model without operating points.
        max_accuracy_drop: percentage points that the judged point may lose.
        data: source of the accuracies; null where they are those that training and tuning recorded.
        missing: variants of the model without figures.
    """

    rows: tuple[DeviceRow, ...]
    verdict: Verdict | None
    max_accuracy_drop: float
    data: str | None
    missing: tuple[MissingVariant, ...] = ()


@dataclass(frozen=True)
class Estimate(Prediction):
    """The document `predict/2`: the figures of a model, and its comparison with other networks."""

    comparison: DeviceComparison | None = None


@dataclass(frozen=True)
class ComparisonRules:
    """Settings of a comparison: the judged point (null: all besides `full`), and how much it may lose."""

    judged: str | None
    max_accuracy_drop: float


@dataclass(frozen=True)
class _Network:
    """An estimate with the accuracy of the network. `estimate` is None where the latency cannot be predicted.

    `difference_ci95` is the interval of its recorded accuracy less that of unsplit, in percentage points; None where
    none is recorded.
    """

    name: str
    role: str
    estimate: NetworkEstimate | None
    accuracy: float | None
    n: int
    right: np.ndarray | None
    reason: str | None = None
    difference_ci95: Interval | None = None

    @property
    def early(self) -> bool:
        """True where it has early exits."""
        return self.role == POINT

    @property
    def mean_ms(self) -> float:
        """Mean latency; infinite where it is not known."""
        return math.inf if self.estimate is None else self.estimate.latency_ms


@dataclass(frozen=True)
class _PredictedPair:
    """Two networks, both predicted from one table."""

    way: _Network
    other: _Network
    predictor: Predictor
    adverb = "predicted to be "

    @property
    def ratio(self) -> float:
        """Mean latency of the first over that of the other; 1 where one is not known."""
        return self._ratio[0]

    @property
    def ratio_ci95(self) -> Interval:
        """Interval of the ratio."""
        return self._ratio[1:]

    @property
    def knows_accuracies(self) -> bool:
        """True where the accuracies of both are known."""
        return self.way is self.other or (self.way.accuracy is not None and self.other.accuracy is not None)

    @property
    def difference(self) -> float:
        """Accuracy of the first less that of the other, in percentage points; 0 where one is not known."""
        return 100 * ((self.way.accuracy or 0.0) - (self.other.accuracy or 0.0)) if self.knows_accuracies else 0.0

    @property
    def difference_ci95(self) -> Interval | None:
        """Interval of the difference on the same inputs, else of recorded accuracies; None where none is recorded."""
        if self.way is self.other:
            return 0.0, 0.0
        if self.way.right is not None and self.other.right is not None:
            return difference_interval(self.way.right, self.other.right)
        if self.other.role == UNSPLIT:
            return self.way.difference_ci95
        if self.way.role == UNSPLIT and self.other.difference_ci95 is not None:
            low, high = self.other.difference_ci95
            return -high, -low
        return None

    def reverse(self) -> "_PredictedPair":
        """Return the comparison of the other with the first."""
        return replace(self, way=self.other, other=self.way)

    def steadier(self) -> Remedy:
        """Return what would make the interval of the ratio narrower."""
        return Remedy(
            f"`eetool bench` on {self.predictor.profile.name}, or a table measured there (`eetool table build`)"
        )

    def more_examples(self, margin: float) -> Remedy:
        """Return what would give the difference to ±`margin` percentage points."""
        if self.way.right is None or self.other.right is None:
            return Remedy(f"--data SOURCE, which compares both on the same inputs{self._tune_again}")
        return examples_remedy(self.way.right, self.other.right, margin)

    @property
    def _tune_again(self) -> str:
        """Words about `tune`, which records the interval of an operating point against unsplit alone."""
        if RIVAL in (self.way.role, self.other.role):
            return ""
        if self.difference_ci95 is None:
            return ", or `eetool tune` again, which records their interval"
        return f", or `eetool tune` with more examples than {self.way.n}"

    @cached_property
    def _ratio(self) -> tuple[float, float, float]:
        if self.way is self.other:
            return 1.0, 1.0, 1.0
        if self.way.estimate is None or self.other.estimate is None:
            return 1.0, *_WIDEST
        return self.way.estimate.ratio_to(self.other.estimate, self.predictor)


def compare_on_device(
    target: PredictionTarget,
    predictor: Predictor,
    rivals: Sequence[tuple[PredictionTarget, Predictor]],
    rules: ComparisonRules,
    results: DataResults | None = None,
    missing: Sequence[MissingVariant] = (),
    drops: Mapping[str, ExpectedDrop] | None = None,
) -> DeviceComparison:
    """Compare a model at its operating points with its unsplit backbone and other networks.

    Args:
        target: the model.
        predictor: the device, for the variant of the model.
        rivals: other networks, each with the device for its variant.
        rules: settings.
        results: accuracies and exit shares on data; by default those that the models record.
        missing: variants of the model without figures.
        drops: accuracy drops of operating points that tuning recorded with their intervals.

    Raises:
        UsageError: the model has no operating point of the asked name.
    """
    networks = _own_networks(target, predictor, results, drops or {})
    for index, (rival, its_predictor) in enumerate(rivals):
        networks.append(_rival(rival, its_predictor, None if results is None else results.rivals[index]))
    unsplit = networks[0]
    rows = tuple(_row(network, unsplit, predictor) for network in networks)
    data = None if results is None else results.source
    verdict = _verdict(networks, predictor, rules)
    return DeviceComparison(rows, verdict, rules.max_accuracy_drop, data, tuple(missing))


def check_input_shapes(target: PredictionTarget, rival: PredictionTarget) -> tuple[str, ...]:
    """Return a warning where a rival takes inputs of another size.

    Raises:
        ArtefactError: it takes inputs of another kind.
    """
    own, other = target.input_shape, rival.input_shape
    if own is None or other is None or own == other:
        return ()
    shown = [" × ".join(map(str, shape)) or "a number" for shape in (other, own)]
    if len(own) != len(other):
        raise ArtefactError(
            f"{rival.name}: takes inputs of {shown[0]}, and {target.name} those of {shown[1]}",
            "Networks of one task can be compared.",
        )
    return (f"{rival.name} takes inputs of {shown[0]}, and {target.name} those of {shown[1]}: compared as they are",)


def rival_warnings(rival: PredictionTarget, predictor: Predictor) -> tuple[str, ...]:
    """Return one warning for each operator of a rival that the table has no kernel for, with its share of the time."""
    shares = unknown_shares(_kernels(rival), predictor.kernel_costs)
    return tuple(
        f"{rival.name}: unknown operator {op}, guessed: {share:.0%} of its time" for op, share in shares.items()
    )


def _own_networks(
    target: PredictionTarget, predictor: Predictor, results: DataResults | None, drops: Mapping[str, ExpectedDrop]
) -> list[_Network]:
    plans = recorded_plans(target)
    if results is not None:
        plans = {
            name: PointPlan(target.operating_points[name].thresholds, on_data.exit_shares or (), results.n)
            for name, on_data in results.points.items()
            if name in target.operating_points
        }
    estimates = estimate_networks(target, predictor, plans)
    on_unsplit = None if results is None else results.unsplit
    networks = [_network(UNSPLIT, estimates[0], _recorded(target, FULL), on_unsplit)]
    for estimate in estimates[1:]:
        on_data = None if results is None else results.points[estimate.name]
        network = _network(POINT, estimate, _recorded(target, estimate.name), on_data)
        networks.append(replace(network, difference_ci95=_recorded_interval(estimate.name, drops)))
    return networks


def _recorded_interval(point: str, drops: Mapping[str, ExpectedDrop]) -> Interval | None:
    """Return the interval of the accuracy at an operating point less that of unsplit, which is that of `full`."""
    if point == FULL:
        return 0.0, 0.0
    if point not in drops:
        return None
    low, high = drops[point].ci95
    return -high, -low


def _rival(rival: PredictionTarget, predictor: Predictor, on_data: AccuracyOnData | None) -> _Network:
    recorded = _recorded(rival, FULL)
    if predictor.missing_precision is not None:
        accuracy, n = (on_data.accuracy, len(on_data.right)) if on_data is not None else recorded
        right = None if on_data is None else on_data.right
        return _Network(rival.name, RIVAL, None, accuracy, n, right, predictor.missing_precision)
    return _network(RIVAL, estimate_graph(rival.name, _kernels(rival), predictor), recorded, on_data)


def _network(
    role: str, estimate: NetworkEstimate, recorded: tuple[float | None, int], on_data: AccuracyOnData | None
) -> _Network:
    if on_data is not None:
        return _Network(estimate.name, role, estimate, on_data.accuracy, len(on_data.right), on_data.right)
    return _Network(estimate.name, role, estimate, *recorded, None)


def _recorded(target: PredictionTarget, point: str) -> tuple[float | None, int]:
    """Return the accuracy that tuning recorded, and its number of examples. That of unsplit is that of `full`."""
    known = target.operating_points.get(point)
    return (known.expected.accuracy, known.expected.n) if known is not None and known.expected else (None, 0)


def _kernels(target: PredictionTarget) -> list[Kernel]:
    """Return the kernels of a whole network without early exits; of a single file those of full depth."""
    return list(target.unsplit) or list(target.graphs.values())[-1]


def _row(network: _Network, unsplit: _Network, predictor: Predictor) -> DeviceRow:
    estimate, base = network.estimate, unsplit.estimate
    ratio: tuple[float, ...] = ()
    if estimate is not None and base is not None and network is not unsplit:
        ratio = estimate.ratio_to(base, predictor)
    return DeviceRow(
        name=network.name,
        role=network.role,
        latency_ms=None if estimate is None else estimate.latency_ms,
        interval_ms=() if estimate is None else estimate.interval_ms,
        latency_ratio=ratio[0] if ratio else None,
        latency_ratio_ci95=ratio[1:],
        accuracy=network.accuracy,
        n=network.n,
        energy_mj=UNKNOWN if estimate is None else estimate.energy_mj,
        exit_shares=None if estimate is None else estimate.exit_shares,
        reason=network.reason,
    )


def _verdict(networks: Sequence[_Network], predictor: Predictor, rules: ComparisonRules) -> Verdict | None:
    points: Mapping[str, _Network] = {n.name: n for n in networks if n.role == POINT}
    if rules.judged is not None and rules.judged not in points:
        raise UsageError(
            f"unknown operating point {rules.judged!r}", f"This model has: {', '.join(points) or 'none with figures'}."
        )
    if not points:
        return None
    judged = [rules.judged] if rules.judged is not None else [name for name in points if name != FULL] or [FULL]
    where = f" on {predictor.profile.name}"
    compare = partial(_PredictedPair, predictor=predictor)
    return judge(networks, networks[0], judged, rules.max_accuracy_drop, compare, where)
