"""Two ways compared on the same inputs: latency ratio and accuracy difference, with intervals of 95 %."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from eetool.accuracy_difference import Interval
from eetool.bench.intervals import (
    difference_interval,
    examples_for,
    examples_text,
    input_half_width,
    pass_half_width,
    ratio_interval,
)
from eetool.bench.timed_sample import TimedLatency


@dataclass(frozen=True)
class Remedy:
    """Remedy for an open condition, in words; `examples` is the count that it asks for, 0 for another remedy."""

    text: str
    examples: float = 0.0


class Way(Protocol):
    """A way to ship a network, measured or predicted."""

    @property
    def name(self) -> str:
        """Name of the way."""

    @property
    def early(self) -> bool:
        """True where it has early exits."""

    @property
    def mean_ms(self) -> float:
        """Mean latency; infinite where it is not known."""


class Pair(Protocol):
    """A way compared with another, measured or predicted; intervals have a level of 95 %."""

    @property
    def way(self) -> Way:
        """The way."""

    @property
    def other(self) -> Way:
        """The way that it is compared with."""

    @property
    def ratio(self) -> float:
        """Mean latency of the way over that of the other."""

    @property
    def ratio_ci95(self) -> Interval:
        """Interval of the ratio."""

    @property
    def knows_accuracies(self) -> bool:
        """True where the accuracies of both are known."""

    @property
    def difference(self) -> float:
        """Accuracy of the way less that of the other, in percentage points."""

    @property
    def difference_ci95(self) -> Interval | None:
        """Interval of the difference; None where the accuracies are not of the same inputs."""

    @property
    def adverb(self) -> str:
        """Words before `31 % faster`, such as `predicted to be `."""

    def reverse(self) -> "Pair":
        """Return the comparison of the other with the way."""

    def steadier(self) -> Remedy:
        """Return what would make the interval of the ratio narrower."""

    def more_examples(self, margin: float) -> Remedy:
        """Return what would give the difference to ±`margin` percentage points."""


@dataclass(frozen=True)
class MeasuredWay:
    """A way on N inputs.

    Attributes:
        name: name of the way.
        early: whether it has early exits.
        classes: int64 (N,), its predictions.
        right: bool (N,), the inputs with a right prediction.
        latency: its latency on the inputs.
    """

    name: str
    early: bool
    classes: np.ndarray
    right: np.ndarray
    latency: TimedLatency

    @property
    def mean_ms(self) -> float:
        """Mean latency."""
        return self.latency.mean

    @property
    def accuracy(self) -> float:
        """Share of the inputs with a right prediction."""
        return float(self.right.mean())


def examples_remedy(way_right: np.ndarray, other_right: np.ndarray, margin: float) -> Remedy:
    """Return how many inputs would give the difference of two accuracies to ±`margin` percentage points."""
    return Remedy(examples_text(way_right, other_right, margin), max(1.0, examples_for(way_right, other_right, margin)))


@dataclass(frozen=True)
class Comparison:
    """A way compared with another on the same inputs."""

    way: MeasuredWay
    other: MeasuredWay
    adverb = ""
    knows_accuracies = True

    def reverse(self) -> "Comparison":
        """Return the comparison of the other with the way."""
        return Comparison(self.other, self.way)

    def steadier(self) -> Remedy:
        """Return what would make the interval of the ratio narrower."""
        n = len(self.way.right)
        return {
            "machine": Remedy(f"more passes than {len(self.way.latency.pass_ms)}, or a quieter machine"),
            "timed sample": Remedy("more --min-seconds, to time more of the examples"),
            "inputs": Remedy(f"more examples than {n}", n),
        }[self.largest_uncertainty]

    def more_examples(self, margin: float) -> Remedy:
        """Return how many examples would give the difference to ±`margin` percentage points."""
        return examples_remedy(self.way.right, self.other.right, margin)

    @property
    def ratio(self) -> float:
        """Mean latency of the way over that of the other."""
        return self.way.latency.mean / self.other.latency.mean

    @cached_property
    def ratio_ci95(self) -> Interval:
        """Interval of the ratio: the choice of inputs, the timed sample of both, and the passes contribute to it."""
        if self.way is self.other:
            return 1.0, 1.0
        return ratio_interval(self.ratio, self._inputs, self._timed_sample, self.noise)

    @property
    def difference(self) -> float:
        """Accuracy of the way less that of the other, in percentage points."""
        return 100 * (self.way.accuracy - self.other.accuracy)

    @cached_property
    def difference_ci95(self) -> Interval:
        """Interval of the difference."""
        return (0.0, 0.0) if self.way is self.other else difference_interval(self.way.right, self.other.right)

    @cached_property
    def same_predictions(self) -> bool:
        """True where both predict the same class for every input."""
        return bool((self.way.classes == self.other.classes).all())

    @cached_property
    def noise(self) -> float:
        """Half the interval of the logarithm of the ratio that is noise of the machine."""
        return pass_half_width(self.way.latency.pass_ms, self.other.latency.pass_ms)

    @property
    def largest_uncertainty(self) -> str:
        """Largest contribution to the interval of the ratio: `machine`, `timed sample` or `inputs`."""
        parts = {"machine": self.noise, "timed sample": self._timed_sample, "inputs": self._inputs}
        return max(parts, key=lambda part: parts[part])

    @cached_property
    def _inputs(self) -> float:
        return input_half_width(self.way.latency.latency_ms, self.other.latency.latency_ms)

    @property
    def _timed_sample(self) -> float:
        return math.hypot(self.way.latency.sampling, self.other.latency.sampling)
