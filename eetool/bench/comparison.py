"""Two ways compared on the same inputs: latency ratio and accuracy difference, with intervals of 95 %."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eetool.accuracy_difference import Interval
from eetool.bench.intervals import difference_interval, input_half_width, pass_half_width, ratio_interval
from eetool.bench.timed_sample import TimedLatency


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
    def accuracy(self) -> float:
        """Share of the inputs with a right prediction."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Comparison:
    """A way compared with another on the same inputs."""

    way: MeasuredWay
    other: MeasuredWay

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
