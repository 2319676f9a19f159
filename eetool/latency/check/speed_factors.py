"""Speed factors of a device by class of kernels, from reference probes that were measured again.

The time of a probe now is the sum over the classes of their shares, each times the factor of the class:

    now / then = sum over classes of share × factor

Probes mix the classes, so factors are fitted together. Classes mostly change together: a factor is a common one plus a
normal deviation of `_APART` (a Bayesian linear model with a flat prior of the common factor). Disturbed probes have
less weight (Huber, 1964, by iteratively reweighted least squares).
"""

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.9  # of intervals, as of predictions
_APART = 0.1  # standard deviation of a class's factor around the common one
_LEAST_NOISE, _FEW, _NOISE_OF_FEW = 0.01, 6, 0.1
_HUBER = 1.5
_ITERATIONS = 20


def fit_speed_factors(shares: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the factor of each class.

    Args:
        shares: shares of each probe's latency by class, (n, k); rows sum to 1.
        ratios: latency now over latency at building, (n,).

    Returns:
        The factors (k,), their standard deviations (k,), and half the width of their 90 % intervals (k,).
    """
    count, classes = shares.shape
    design = np.concatenate((shares.sum(axis=1, keepdims=True), shares), axis=1)  # (n, 1 + k): common, then apart
    prior = np.diag([0.0, *[1 / _APART**2] * classes])
    weights, noise = np.ones(count), _NOISE_OF_FEW
    for _ in range(_ITERATIONS):
        precision = (design * (weights / noise**2)[:, None]).T @ design + prior
        solution = np.linalg.solve(precision, design.T @ (ratios * weights / noise**2))
        residuals = ratios - design @ solution
        noise = _noise(residuals, classes)
        weights = np.minimum(1.0, _HUBER * noise / np.maximum(np.abs(residuals), 1e-12))
    total = np.concatenate((np.ones((classes, 1)), np.eye(classes)), axis=1)  # (k, 1 + k): factor = common + apart
    deviations = np.sqrt(np.diag(total @ np.linalg.inv(precision) @ total.T))
    half = stdtrit(max(1, count - classes), (1 + LEVEL) / 2) * deviations
    return total @ solution, deviations, half


def _noise(residuals: np.ndarray, classes: int) -> float:
    """Return the standard deviation of a ratio, robustly; of a few probes it is not known and taken as large."""
    spare = max(1, len(residuals) - classes)
    scatter = 1.4826 * float(np.median(np.abs(residuals))) * (len(residuals) / spare) ** 0.5
    return max(float(scatter), _LEAST_NOISE if len(residuals) >= _FEW else _NOISE_OF_FEW)
