"""Verdict on whether early exit pays, does not pay, or cannot be told, with its reasons as a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eetool.accuracy_difference import Interval
from eetool.bench.intervals import difference_interval, examples_for, pass_half_width, ratio_interval, widened

_ROUNDING = 1e-9  # percentage points: accuracies are ratios of counts, and equal ones may differ in the last bit
_HEADLINES = {True: "Early exit pays", False: "Early exit does not pay", None: "Cannot tell whether early exit pays"}


@dataclass(frozen=True)
class Verdict:
    """Verdict on `point` against the unsplit backbone, and the reasons as text.

    Attributes:
        pays: None where the measurement does not decide it.
        point: the operating point.
        latency_ratio: its mean latency over that of unsplit.
        latency_ratio_ci95: interval of the ratio.
        text: one or two sentences.
        accuracy_difference: its accuracy less that of unsplit, in percentage points.
        accuracy_difference_ci95: interval of the difference; empty in documents of earlier versions.
    """

    pays: bool | None
    point: str
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    text: str
    accuracy_difference: float = 0.0
    accuracy_difference_ci95: tuple[float, ...] = ()

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        return _HEADLINES[self.pays]


@dataclass(frozen=True)
class MeasuredNet:
    """A network on N inputs.

    Attributes:
        name: name of the network or operating point.
        right: bool (N,), the inputs with a right answer.
        latency_ms: (N,), the latency of each input.
        pass_ms: (passes,), the mean latency in every pass.
    """

    name: str
    right: np.ndarray
    latency_ms: np.ndarray
    pass_ms: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """The operating point compared with another network on the same inputs; intervals have a level of 95 %."""

    point: MeasuredNet
    other: MeasuredNet
    seed: int

    @property
    def ratio(self) -> float:
        """Mean latency of the point over that of the other network."""
        return float(self.point.latency_ms.mean() / self.other.latency_ms.mean())

    @cached_property
    def ratio_ci95(self) -> Interval:
        """Interval of the ratio, of which the inputs have one part and the passes the other."""
        of_inputs = ratio_interval(self.point.latency_ms, self.other.latency_ms, self.seed)
        return widened(self.ratio, of_inputs, self._noise)

    @property
    def difference(self) -> float:
        """Accuracy of the point less that of the other network, in percentage points."""
        return float(100 * (self.point.right.mean() - self.other.right.mean()))

    @cached_property
    def difference_ci95(self) -> Interval:
        """Interval of the difference."""
        return difference_interval(self.point.right, self.other.right)

    @property
    def is_noisy(self) -> bool:
        """True where the passes contribute more to the interval of the ratio than the inputs do."""
        low, high = self.ratio_ci95
        return self._noise > math.log(high / low) / 2 / math.sqrt(2)

    @cached_property
    def _noise(self) -> float:
        return pass_half_width(self.point.pass_ms, self.other.pass_ms)


@dataclass(frozen=True)
class _Condition:
    """A condition of the verdict: whether it holds (None: undecided), the reason if not, what would decide it."""

    holds: bool | None
    reason: str = ""
    remedy: str = ""


def decide_verdict(
    point: MeasuredNet,
    unsplit: MeasuredNet,
    against: Sequence[MeasuredNet],
    max_accuracy_drop: float,
    seed: int,
) -> Verdict:
    """Return the verdict on `point`.

    It pays where three conditions hold: it is faster than `unsplit`; it loses at most `max_accuracy_drop` percentage
    points; and no network of `against` is both at least as accurate and at least as fast. It does not pay where one is
    broken. Both are said only where the intervals of 95 % allow no other answer.
    """
    pair = Comparison(point, unsplit, seed)
    rivals = [_is_not_dominated(Comparison(point, net, seed)) for net in against]
    conditions = [*rivals, _keeps_accuracy(pair, max_accuracy_drop), _is_faster(pair)]
    holds = [condition.holds for condition in conditions]
    pays = False if False in holds else None if None in holds else True
    reasons = "; ".join(c.reason for c in conditions if c.holds is pays)
    facts = _facts(pair)
    headline = _HEADLINES[pays]
    if pays:
        text = f"{headline}: {facts}.{_against_text(against)}"
    elif pays is None:
        remedies = "; ".join(dict.fromkeys(c.remedy for c in conditions if c.remedy))
        text = f"{headline}: {reasons}. Here {facts}. What would decide it: {remedies}."
    else:
        text = f"{headline}: {reasons}. Here {facts}."
    return Verdict(pays, point.name, pair.ratio, pair.ratio_ci95, text, pair.difference, pair.difference_ci95)


def _is_faster(pair: Comparison) -> _Condition:
    low, high = pair.ratio_ci95
    if high < 1:
        return _Condition(True)
    if low >= 1:
        return _Condition(False, f"it is no faster than unsplit, as the interval begins at {low:.2f}")
    reason = f"it may be no faster than unsplit, as the interval reaches {high:.2f}"
    return _Condition(None, reason, _steadier(pair))


def _keeps_accuracy(pair: Comparison, limit: float) -> _Condition:
    low, high = pair.difference_ci95
    lost = -pair.difference
    if -low <= limit + _ROUNDING:
        return _Condition(True)
    if -high > limit + _ROUNDING:
        return _Condition(False, f"it loses {lost:.2f} percentage points of accuracy, where {limit:g} are allowed")
    reason = f"it may lose {-low:.2f} percentage points of accuracy, where {limit:g} are allowed"
    return _Condition(None, reason, _more_examples(pair, abs(limit - lost)))


def _is_not_dominated(pair: Comparison) -> _Condition:
    name, (low, high) = pair.other.name, pair.ratio_ci95
    if high < 1 or pair.difference_ci95[0] > 0:
        return _Condition(True)
    if low >= 1 and pair.difference <= _ROUNDING:
        return _Condition(False, f"{name} is at least as accurate and at least as fast")
    slow = low < 1 <= high
    near = pair.difference > 0
    reason = f"{name} may be at least as accurate and at least as fast"
    remedy = _more_examples(pair, abs(pair.difference)) if near or not slow else _steadier(pair)
    return _Condition(None, reason, remedy)


def _steadier(pair: Comparison) -> str:
    if pair.is_noisy:
        return f"more passes than {len(pair.point.pass_ms)}, or a quieter machine"
    return f"more examples than {len(pair.point.right)}"


def _more_examples(pair: Comparison, margin: float) -> str:
    n = len(pair.point.right)
    needed = examples_for(pair.point.right, pair.other.right, margin)
    return (
        f"about {_two_digits(needed)} examples instead of {n}"
        if math.isfinite(needed)
        else f"far more than {n} examples"
    )


def _two_digits(count: float) -> int:
    """Return a count rounded up to two significant digits."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step


def _facts(pair: Comparison) -> str:
    (low, high), (least, most) = pair.ratio_ci95, pair.difference_ci95
    accuracies = (f"{100 * net.right.mean():.2f} %" for net in (pair.point, pair.other))
    return (
        f"{pair.point.name} takes {pair.ratio:.2f} of the mean latency of unsplit (95 % interval {low:.2f} to "
        f"{high:.2f}), at {' against '.join(accuracies)} accuracy ({pair.difference:+.2f} points, {least:+.2f} to "
        f"{most:+.2f})"
    )


def _against_text(against: Sequence[MeasuredNet]) -> str:
    if not against:
        return ""
    if len(against) == 1:
        return f" {against[0].name} is not both as accurate and as fast."
    return f" None of {', '.join(net.name for net in against)} is both as accurate and as fast."
