"""Verdict on whether early exit pays, does not pay, or cannot be told, with its reasons as a sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from eetool.bench.intervals import Interval, difference_interval, examples_for, pass_half_width, ratio_interval, widened

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
        accuracy_difference: its accuracy less that of unsplit, in percentage points; null where it is not known.
        accuracy_difference_ci95: interval of the difference; empty where the accuracies are not of the same inputs, and
            in documents of earlier versions.
    """

    pays: bool | None
    point: str
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    text: str
    accuracy_difference: float | None = 0.0
    accuracy_difference_ci95: tuple[float, ...] = ()

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        return _HEADLINES[self.pays]


class Pair(Protocol):
    """The operating point compared with another network, measured or predicted; intervals have a level of 95 %."""

    @property
    def point_name(self) -> str:
        """Name of the operating point."""

    @property
    def other_name(self) -> str:
        """Name of the other network."""

    @property
    def ratio(self) -> float:
        """Mean latency of the point over that of the other network."""

    @property
    def ratio_ci95(self) -> Interval:
        """Interval of the ratio."""

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Accuracies of the two in [0, 1]; None where one is not known."""

    @property
    def difference(self) -> float:
        """Accuracy of the point less that of the other network, in percentage points."""

    @property
    def difference_ci95(self) -> Interval | None:
        """Interval of the difference; None where the accuracies are taken as they are recorded."""

    @property
    def takes(self) -> str:
        """Verb before the ratio, such as `takes`."""

    def steadier(self) -> str:
        """Return what would make the interval of the ratio narrower."""

    def more_examples(self, margin: float) -> str:
        """Return what would give the difference to ±`margin` percentage points."""


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
    """The operating point compared with another network on the same inputs, both measured."""

    point: MeasuredNet
    other: MeasuredNet
    seed: int
    takes = "takes"

    @property
    def point_name(self) -> str:
        """Name of the operating point."""
        return self.point.name

    @property
    def other_name(self) -> str:
        """Name of the other network."""
        return self.other.name

    @property
    def accuracies(self) -> tuple[float, float]:
        """Accuracies of the two."""
        return float(self.point.right.mean()), float(self.other.right.mean())

    def steadier(self) -> str:
        """Return what would make the interval of the ratio narrower."""
        if self.is_noisy:
            return f"more passes than {len(self.point.pass_ms)}, or a quieter machine"
        return f"more examples than {len(self.point.right)}"

    def more_examples(self, margin: float) -> str:
        """Return how many examples would give the difference to ±`margin` percentage points."""
        return examples_text(self.point.right, self.other.right, margin)

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
    return judge(pair, [Comparison(point, net, seed) for net in against], max_accuracy_drop)


def judge(pair: Pair, rivals: Sequence[Pair], max_accuracy_drop: float, where: str = "") -> Verdict:
    """Return the verdict on the point of `pair`, by the conditions of `decide_verdict`.

    Args:
        pair: the point and the unsplit backbone.
        rivals: the point and every network of `against`.
        max_accuracy_drop: percentage points that the point may lose.
        where: device of the verdict, such as ` on rpi4`.
    """
    dominated = [_is_not_dominated(rival) for rival in rivals]
    conditions = [*dominated, _keeps_accuracy(pair, max_accuracy_drop), _is_faster(pair)]
    holds = [condition.holds for condition in conditions]
    pays = False if False in holds else None if None in holds else True
    reasons = "; ".join(c.reason for c in conditions if c.holds is pays)
    facts = _facts(pair)
    headline = _HEADLINES[pays] + where
    if pays:
        text = f"{headline}: {facts}.{_against_text(rivals)}"
    elif pays is None:
        remedies = "; ".join(dict.fromkeys(c.remedy for c in conditions if c.remedy))
        text = f"{headline}: {reasons}. Here {facts}. What would decide it: {remedies}."
    else:
        text = f"{headline}: {reasons}. Here {facts}."
    difference = None if pair.accuracies is None else pair.difference
    return Verdict(pays, pair.point_name, pair.ratio, pair.ratio_ci95, text, difference, pair.difference_ci95 or ())


def _is_faster(pair: Pair) -> _Condition:
    low, high = pair.ratio_ci95
    if high < 1:
        return _Condition(True)
    if low >= 1:
        return _Condition(False, f"it is no faster than unsplit, as the interval begins at {low:.2f}")
    reason = f"it may be no faster than unsplit, as the interval reaches {high:.2f}"
    return _Condition(None, reason, pair.steadier())


def _keeps_accuracy(pair: Pair, limit: float) -> _Condition:
    if pair.accuracies is None:
        return _Condition(None, "its accuracy is not known", pair.more_examples(limit))
    low, high = pair.difference_ci95 or (pair.difference, pair.difference)
    lost = -pair.difference
    if -low <= limit + _ROUNDING:
        return _Condition(True)
    if -high > limit + _ROUNDING:
        return _Condition(False, f"it loses {lost:.2f} percentage points of accuracy, where {limit:g} are allowed")
    reason = f"it may lose {-low:.2f} percentage points of accuracy, where {limit:g} are allowed"
    return _Condition(None, reason, pair.more_examples(abs(limit - lost)))


def _is_not_dominated(pair: Pair) -> _Condition:
    name, (low, high) = pair.other_name, pair.ratio_ci95
    if high < 1:
        return _Condition(True)
    if pair.accuracies is None:
        return _Condition(None, f"the accuracy of {name} is not known", pair.more_examples(0.0))
    if (pair.difference_ci95 or (pair.difference,))[0] > 0:
        return _Condition(True)
    if low >= 1 and pair.difference <= _ROUNDING:
        return _Condition(False, f"{name} is at least as accurate and at least as fast")
    slow = low < 1 <= high
    near = pair.difference > 0
    reason = f"{name} may be at least as accurate and at least as fast"
    remedy = pair.more_examples(abs(pair.difference)) if near or not slow else pair.steadier()
    return _Condition(None, reason, remedy)


def examples_text(point_right: np.ndarray, other_right: np.ndarray, margin: float) -> str:
    """Return in words how many examples give the difference of two accuracies to ±`margin` percentage points."""
    n, needed = len(point_right), examples_for(point_right, other_right, margin)
    if not math.isfinite(needed):
        return f"far more than {n} examples"
    return f"about {_two_digits(needed)} examples instead of {n}"


def _two_digits(count: float) -> int:
    """Return a count rounded up to two significant digits."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step


def _facts(pair: Pair) -> str:
    low, high = pair.ratio_ci95
    text = (
        f"{pair.point_name} {pair.takes} {pair.ratio:.2f} of the mean latency of unsplit (95 % interval {low:.2f} to "
        f"{high:.2f})"
    )
    if pair.accuracies is None:
        return text
    accuracies = " against ".join(f"{100 * accuracy:.2f} %" for accuracy in pair.accuracies)
    interval = pair.difference_ci95
    bounds = f", {interval[0]:+.2f} to {interval[1]:+.2f}" if interval is not None else ", as recorded"
    return f"{text}, at {accuracies} accuracy ({pair.difference:+.2f} points{bounds})"


def _against_text(rivals: Sequence[Pair]) -> str:
    if not rivals:
        return ""
    if len(rivals) == 1:
        return f" {rivals[0].other_name} is not both as accurate and as fast."
    return f" None of {', '.join(rival.other_name for rival in rivals)} is both as accurate and as fast."
