"""Intervals of the latency of a whole network, from the deviations of its kernels and an error that all of it has."""

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.9
DEVIATIONS = 1.645  # of a normal distribution, to either side, for 90 %
CORRELATION = 0.3  # of errors of kernels in one graph


def deviation_of_sum(deviations: Sequence[float], common: float) -> float:
    """Return the deviation of a sum whose parts have correlated errors, with an error that all of it has in common."""
    independent = sum(d * d for d in deviations)
    correlated = sum(deviations) ** 2
    return float(((1 - CORRELATION) * independent + CORRELATION**2 * correlated + common * common) ** 0.5)


def latency_interval(total: float, deviation: float) -> tuple[float, float]:
    """Return the 90 % interval of a positive figure, symmetric in its logarithm, so that it never reaches 0."""
    factor = 1 + DEVIATIONS * deviation / max(total, 1e-12)
    return total / factor, total * factor


def calibrated_error(ratios: np.ndarray, deviations: np.ndarray, confidence: float = CONFIDENCE) -> float:
    """Return the smallest common error with which intervals hold the given share of networks.

    Args:
        ratios: predicted over measured latency of networks that the table does not know, (n,).
        deviations: relative deviation of each prediction from its kernels alone, (n,).
        confidence: share of networks that intervals are to hold.

    Returns:
        A relative standard deviation; 0 where the kernels' own deviations suffice.
    """
    needed = (np.exp(np.abs(np.log(ratios))) - 1) / DEVIATIONS  # (n,): the interval just holds the measurement
    common = np.sqrt(np.maximum(needed**2 - deviations**2, 0.0))
    return float(np.quantile(common, confidence, method="higher"))
