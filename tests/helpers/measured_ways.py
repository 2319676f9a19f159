"""Measured ways with known figures."""

from collections.abc import Sequence

import numpy as np

from eetool.bench.comparison import MeasuredWay
from eetool.bench.timed_sample import TimedLatency

N = 2000
STEADY = (1.0,) * 7
NOISY = (0.4, 1.6, 0.5, 1.5, 0.6, 1.4, 1.0)


def way(
    name: str, right: int, ms: float, noise: Sequence[float] = STEADY, n: int = N, early: bool = True
) -> MeasuredWay:
    """Return a way that is right on the first `right` of `n` inputs and takes about `ms` for each."""
    latency_ms = ms * np.linspace(0.98, 1.02, n)
    correct = np.arange(n) < right
    latency = TimedLatency(latency_ms, ms, 1.02 * ms, 0.0, ms * np.asarray(noise))
    return MeasuredWay(name, early, correct.astype(np.int64), correct, latency)


def net(name: str, right: int, ms: float, noise: Sequence[float] = STEADY, n: int = N) -> MeasuredWay:
    """Return a way without early exits."""
    return way(name, right, ms, noise, n, early=False)
