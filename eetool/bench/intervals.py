"""95 % intervals of a latency ratio and of an accuracy difference between two networks on the same inputs."""

import math

import numpy as np
from scipy.stats import bootstrap, t

from eetool.accuracy_difference import CONFIDENCE, Interval, paired_half_width, paired_interval

_RESAMPLES = 4000
_BATCH = 200  # resamples in memory at once
_WIDEST = math.log(1e6)  # two passes that differ tell nothing, and say so with a number that JSON has


def ratio_interval(point_ms: np.ndarray, other_ms: np.ndarray, seed: int) -> Interval:
    """Return the percentile bootstrap interval of mean(point) / mean(other), both (N,) for the same N inputs.

    The bootstrap is paired: an input is drawn for both or for neither, so effects of an input on both cancel.
    """
    if len(point_ms) == 1:  # nothing to resample
        ratio = float(point_ms[0] / other_ms[0])
        return ratio, ratio
    interval = bootstrap(
        (point_ms, other_ms),
        _ratio_of_means,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def pass_half_width(point_ms: np.ndarray, other_ms: np.ndarray) -> float:
    """Return half the interval of the logarithm of the ratio over passes, both (passes,) mean milliseconds.

    The inputs of every pass are the same, so this is noise of the machine alone. It is 0 for a single pass.
    """
    ratios = np.log(point_ms / other_ms)
    if len(ratios) < 2:
        return 0.0
    half = t.ppf((1 + CONFIDENCE) / 2, len(ratios) - 1) * ratios.std(ddof=1) / math.sqrt(len(ratios))
    return min(float(half), _WIDEST)


def widened(ratio: float, interval: Interval, half_width: float) -> Interval:
    """Return the interval of `ratio` with an independent uncertainty of its logarithm added."""
    low, high = (math.hypot(math.log(bound / ratio), half_width) for bound in interval)
    return ratio * math.exp(-low), ratio * math.exp(high)


def difference_interval(point_right: np.ndarray, other_right: np.ndarray) -> Interval:
    """Return the interval of accuracy(point) − accuracy(other), in percentage points, for bools (N,) on N inputs."""
    return paired_interval(*_disagreements(point_right, other_right), len(point_right))


def examples_for(point_right: np.ndarray, other_right: np.ndarray, margin: float) -> float:
    """Return how many inputs, with disagreements as frequent as on these, give an interval of ±`margin` points.

    It is infinite where a hundred times as many do not.
    """
    n = len(point_right)
    gained, lost = (count / n for count in _disagreements(point_right, other_right))
    sizes = np.unique(np.geomspace(n, 100 * n, 1000).astype(int))
    return next((float(m) for m in sizes if 100 * paired_half_width(gained * m, lost * m, m) <= margin), math.inf)


def _disagreements(point_right: np.ndarray, other_right: np.ndarray) -> tuple[int, int]:
    return int((point_right & ~other_right).sum()), int((other_right & ~point_right).sum())


def _ratio_of_means(point_ms: np.ndarray, other_ms: np.ndarray, axis: int) -> np.ndarray:
    ratios: np.ndarray = point_ms.mean(axis) / other_ms.mean(axis)
    return ratios
