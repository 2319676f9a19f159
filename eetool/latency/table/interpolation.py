"""Interpolation of latency or energy between known kernels of one kind.

The estimate starts from a linear model: a constant, MACs, bytes of tensors and bytes of weights, with non-negative
coefficients. A Gaussian process (Rasmussen & Williams, 2006) over the logarithm of its residuals corrects it. A
measured kernel thus gets its measured cost, and a kernel between measured ones is interpolated. A kernel far from all
entries gets the linear model, with a wider interval. Leave-one-out errors calibrate the intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.latency.kernels.features import linear_terms, log_sizes
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.gaussian_process import (
    leave_one_out_deviations,
    leave_one_out_errors,
    matern_covariance,
)

_NEIGHBOURS = 200  # entries used for one estimate: the effort grows with the third power
_MAX_CHOOSING = 500  # entries used to choose length and noise
_LENGTHS = (2.5, 4.0, 6.5, 10.0, 16.0)  # in factors of two of a size
_NOISES = (0.01, 0.02, 0.04, 0.08)
_FAR = 0.35  # relative uncertainty of the linear model alone
_FEW = 6  # with fewer entries the length is not chosen but a default
_JITTER = 1e-6  # on the diagonal of covariances, so that they can be inverted


@dataclass(frozen=True)
class InterpolatedCost:
    """Estimated cost, its relative standard deviation, and its nearness: 1 beside an entry, 0 far from all."""

    value: float
    deviation: float
    nearness: float


class CostInterpolator:
    """Cost model fitted on the entries of one kernel kind, precision, backend and thread count.

    Args:
        kernels: the known kernels; at least one.
        values: their costs in milliseconds or millijoules, positive.
        uncertain: relative standard deviation of each value.
        channel_block: channels per block on the device.
        prior: coefficients of `linear_terms` from an earlier fit; fitted on the entries if None.
    """

    def __init__(
        self,
        kernels: Sequence[Kernel],
        values: Sequence[float],
        uncertain: Sequence[float],
        channel_block: int = 1,
        prior: np.ndarray | None = None,
    ) -> None:
        self._block = channel_block
        known, self._uncertain = np.array(values, float), np.array(uncertain, float)
        terms = np.array([linear_terms(kernel, channel_block) for kernel in kernels])  # (n, 4)
        self._coefficients = fit_terms(terms, known) if prior is None else prior
        self._sizes = np.array([log_sizes(kernel, channel_block) for kernel in kernels])  # (n, features)
        self._residuals = np.log(known / np.maximum(terms @ self._coefficients, 1e-9))  # (n,)
        self._centre = float(np.median(self._residuals))
        self._amplitude = max(float(np.std(self._residuals - self._centre)), 0.05)
        self._length, self._noise, self.cv_error = self._choose_parameters(np.sqrt(known))
        self._calibration = self._calibrate()

    def __call__(self, kernel: Kernel) -> InterpolatedCost:
        """Estimate the cost of one kernel of this kind."""
        sizes = log_sizes(kernel, self._block)[None]  # (1, features)
        linear = max(float(linear_terms(kernel, self._block) @ self._coefficients), 1e-9)
        some = self._nearest(sizes)
        noise = np.diag((self._noise**2 + self._uncertain[some] ** 2) / self._amplitude**2 + _JITTER)
        covariance = matern_covariance(self._sizes[some], self._sizes[some], self._length) + noise
        near = matern_covariance(sizes, self._sizes[some], self._length)[0]  # (neighbours,)
        residuals = self._residuals[some] - self._centre
        weights, correction = np.linalg.solve(covariance, np.stack((near, residuals), axis=1)).T
        unexplained = max(0.0, 1.0 - float(near @ weights))
        spread = self._calibration**2 * (self._amplitude**2 * unexplained + self._noise**2) + (_FAR * unexplained) ** 2
        value = linear * float(np.exp(self._centre + near @ correction))
        return InterpolatedCost(value, float(np.sqrt(spread)), 1 - unexplained)

    def _nearest(self, sizes: np.ndarray) -> np.ndarray:
        """Return the indices of the nearest entries; farther ones hardly change the estimate."""
        if len(self._sizes) <= _NEIGHBOURS:
            return np.arange(len(self._sizes))
        distance = ((self._sizes - sizes) ** 2).sum(1)
        return np.argpartition(distance, _NEIGHBOURS)[:_NEIGHBOURS]

    def _choose_parameters(self, importance: np.ndarray) -> tuple[float, float, float]:
        """Return length, noise and leave-one-out error with the least error, weighted by importance."""
        if len(self._residuals) < _FEW:
            return 4.0, _NOISES[1], max(self._amplitude, 0.1)
        best = (np.inf, 4.0, _NOISES[1])
        some = _evenly_spaced(len(self._residuals), _MAX_CHOOSING)
        residuals, weight = self._residuals[some] - self._centre, importance[some] / importance[some].sum()
        for length in _LENGTHS:
            covariance = matern_covariance(self._sizes[some], self._sizes[some], length)
            for noise in _NOISES:
                errors = leave_one_out_errors(self._inverse(covariance, noise, some), residuals)
                best = min(best, (float(weight @ np.minimum(np.abs(errors), 1.0)), length, noise))
        return best[1], best[2], best[0]

    def _calibrate(self) -> float:
        """Return the ratio of actual to expected leave-one-out errors; at least 1."""
        if len(self._residuals) < _FEW:
            return 1.0
        some = _evenly_spaced(len(self._residuals), _MAX_CHOOSING)
        covariance = matern_covariance(self._sizes[some], self._sizes[some], self._length)
        inverse = self._inverse(covariance, self._noise, some)
        errors = leave_one_out_errors(inverse, self._residuals[some] - self._centre)
        expected = self._amplitude * leave_one_out_deviations(inverse)
        return max(1.0, 1.4826 * float(np.median(np.abs(errors) / expected)))

    def _inverse(self, covariance: np.ndarray, noise: float, some: np.ndarray) -> np.ndarray:
        """Return the inverse of a covariance of the entries `some`, noise included, in units of the amplitude."""
        variances = (noise**2 + self._uncertain[some] ** 2) / self._amplitude**2
        inverse: np.ndarray = np.linalg.inv(covariance + np.diag(variances + _JITTER))
        return inverse


def fit_terms(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Fit non-negative coefficients with the least sum of squared relative errors.

    Args:
        terms: terms of each kernel, (n, 4).
        values: cost of each kernel, (n,).

    Returns:
        The coefficients (4,).
    """
    from scipy.optimize import nnls  # slow to load

    scale = np.maximum(terms.max(axis=0), 1e-12)
    weighted = terms / scale / values[:, None]
    # A small ridge: with few entries no term may come out as free.
    ridge = np.diag(np.full(terms.shape[1], 0.02 / np.median(values)))
    target = np.concatenate((np.ones(len(values)), np.zeros(terms.shape[1])))
    scaled, _ = nnls(np.vstack((weighted, ridge)), target)
    coefficients: np.ndarray = scaled / scale
    return coefficients


def _evenly_spaced(count: int, most: int) -> np.ndarray:
    """Return the indices of at most `most` of `count` entries, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
