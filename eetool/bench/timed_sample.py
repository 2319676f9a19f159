"""Latency of a way on all inputs, from a sample of them that was timed.

Inputs that leave at one exit ran the same components. Where only some inputs are timed, the mean over all is therefore
that of each exit weighted by the share of *all* inputs that left there: double sampling for stratification (Neyman,
JASA 1938). Rare exits are timed more often than their share, which the weights correct.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.intervals import Z

LEAST = 100  # inputs that are timed, where there are so many: a 99th percentile of fewer is their maximum
_LEAST_PER_EXIT = 4


@dataclass(frozen=True)
class TimedLatency:
    """Latency of a way on N inputs.

    Attributes:
        latency_ms: (N,), the latency of each input; that of an input which was not timed is the mean of its exit.
        p50: median, milliseconds.
        p99: 99th percentile.
        sampling: half the interval of the logarithm of the mean that is due to timing a sample; 0 where all are timed.
        pass_ms: (passes,), the mean latency in every pass.
    """

    latency_ms: np.ndarray
    p50: float
    p99: float
    sampling: float
    pass_ms: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the N inputs, milliseconds."""
        return float(self.latency_ms.mean())


def choose_timed(strata: Sequence[np.ndarray], n: int, count: int, seed: int) -> np.ndarray:
    """Return the sorted indices of the inputs to time: `count` at random, and a few of every rarer exit.

    Args:
        strata: int64 (N,) of each way, the exit where an input leaves.
        n: number of inputs, N.
        count: number of inputs to time.
        seed: of the choice.
    """
    order = np.random.default_rng(seed).permutation(n)
    chosen = np.zeros(n, bool)
    chosen[order[: max(count, LEAST)]] = True
    for exits in strata:
        for k in np.unique(exits):
            members = order[exits[order] == k]
            missing = min(_LEAST_PER_EXIT, len(members)) - int(chosen[members].sum())
            if missing > 0:
                chosen[members[~chosen[members]][:missing]] = True
    return np.flatnonzero(chosen)


def summarize_times(times_ms: np.ndarray, timed: np.ndarray, strata: np.ndarray) -> TimedLatency:
    """Return the latency on all inputs.

    Args:
        times_ms: (passes, M), of the timed inputs.
        timed: int64 (M,), their indices among all N inputs, at least one for every exit.
        strata: int64 (N,), the exit where each input leaves.
    """
    own = np.median(times_ms, axis=0)
    at = strata[timed]
    size = strata.max() + 1
    n_all, n_timed = np.bincount(strata, minlength=size), np.bincount(at, minlength=size)
    share = n_all / len(strata)
    counted = np.maximum(n_timed, 1)
    means = np.bincount(at, own, size) / counted
    squares = np.bincount(at, (own - means[at]) ** 2, size) / np.maximum(n_timed - 1, 1)
    latency = means[strata]
    latency[timed] = own
    variance = float((share**2 * squares / counted * (1 - n_timed / np.maximum(n_all, 1))).sum())
    weights = (n_all / counted)[at]
    p50, p99 = np.quantile(own, (0.5, 0.99), weights=weights, method="inverted_cdf")
    return TimedLatency(
        latency_ms=latency,
        p50=float(p50),
        p99=float(p99),
        sampling=Z * math.sqrt(max(variance, 0.0)) / float(latency.mean()),
        pass_ms=times_ms @ weights / weights.sum(),
    )
