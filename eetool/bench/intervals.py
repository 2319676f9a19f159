"""95 % intervals of a latency ratio and of an accuracy difference between two networks on the same inputs."""

import math

import numpy as np
from scipy.special import ndtri, stdtrit

from eetool.accuracy_difference import CONFIDENCE, Interval, paired_half_width, paired_interval

Z = float(ndtri((1 + CONFIDENCE) / 2))
_WIDEST = math.log(1e6)  # two passes that differ tell nothing, and say so with a number that JSON has


def input_half_width(point_ms: np.ndarray, other_ms: np.ndarray) -> float:
    """Return half the interval of log(mean(point) / mean(other)) over the choice of inputs, both (N,) for the same N.

    The delta method on the paired inputs, so effects of an input on both cancel. It is 0 for a single input.
    """
    n = len(point_ms)
    if n < 2:
        return 0.0
    deviations = point_ms / point_ms.mean() - other_ms / other_ms.mean()
    return Z * float(deviations.std(ddof=1)) / math.sqrt(n)


def pass_half_width(point_ms: np.ndarray, other_ms: np.ndarray) -> float:
    """Return half the interval of the logarithm of the ratio over passes, both (passes,) mean milliseconds.

    The inputs of every pass are the same, so this is noise of the machine alone. It is 0 for a single pass.
    """
    ratios = np.log(point_ms / other_ms)
    if len(ratios) < 2:
        return 0.0
    half = stdtrit(len(ratios) - 1, (1 + CONFIDENCE) / 2) * ratios.std(ddof=1) / math.sqrt(len(ratios))
    return min(float(half), _WIDEST)


def ratio_interval(ratio: float, *half_widths: float) -> Interval:
    """Return the interval of `ratio` from independent uncertainties of its logarithm."""
    half = min(math.hypot(*half_widths), _WIDEST)
    return ratio * math.exp(-half), ratio * math.exp(half)


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


def examples_text(point_right: np.ndarray, other_right: np.ndarray, margin: float) -> str:
    """Return in words how many inputs give the difference of two accuracies to ±`margin` percentage points."""
    n, needed = len(point_right), examples_for(point_right, other_right, margin)
    if not math.isfinite(needed):
        return f"far more than {n} examples"
    return f"about {_two_digits(needed)} examples instead of {n}"


def _two_digits(count: float) -> int:
    """Return a count rounded up to two significant digits."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step


def _disagreements(point_right: np.ndarray, other_right: np.ndarray) -> tuple[int, int]:
    return int((point_right & ~other_right).sum()), int((other_right & ~point_right).sum())
