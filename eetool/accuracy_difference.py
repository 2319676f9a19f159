"""Intervals of the accuracy difference between two classifiers on the same inputs."""

import math

from scipy.special import ndtri

CONFIDENCE = 0.95
Interval = tuple[float, float]


def paired_interval(gained: float, lost: float, n: int) -> Interval:
    """Return the 95 % interval of an accuracy difference on n inputs, in percentage points.

    The adjusted Wald interval for paired proportions of Bonett and Price (Statistics in Medicine, 2012), which also
    holds for small n and few disagreements.

    Args:
        gained: inputs that only the first classifier gets right.
        lost: inputs that only the second one gets right.
        n: all inputs.
    """
    centre, half = (gained - lost) / (n + 2), paired_half_width(gained, lost, n)
    return max(-100.0, 100 * (centre - half)), min(100.0, 100 * (centre + half))


def paired_half_width(gained: float, lost: float, n: float) -> float:
    """Return half the width of `paired_interval`, as a share of 1."""
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    return float(ndtri((1 + CONFIDENCE) / 2) * math.sqrt((up + down - (up - down) ** 2) / (n + 2)))
