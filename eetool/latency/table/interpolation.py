"""Latency or energy of kernels of one kind from those that are known: a regression, corrected by what lies near.

First a sum of terms that any device obeys (a constant, MACs, bytes of tensors, bytes of weights), with coefficients
that are not negative. Then a Gaussian process (Rasmussen & Williams, 2006) over the logarithm of what that sum misses,
so that a kernel that was measured gets what was measured, one between measured ones is interpolated, and one far from
all gets the sum, with an interval that says which. Widths come from errors of leaving out one entry at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from eetool.latency.kernels.features import linear_terms, log_sizes
from eetool.latency.kernels.kernel import Kernel

_NEIGHBOURS = 200  # entries that one estimate looks at: the effort grows with the third power
_MAX_CHOOSING = 500  # entries by which lengths and noise are chosen
_LENGTHS = (2.5, 4.0, 6.5, 10.0, 16.0)  # in factors of two of a size
_NOISES = (0.01, 0.02, 0.04, 0.08)
_FAR = 0.35  # relative uncertainty of the sum alone, before anything is known better
_FEW = 6  # entries below which lengths are not chosen but taken from the middle


@dataclass(frozen=True)
class InterpolatedCost:
    """A value, its relative standard deviation, and how near what is known lies: 1 beside an entry, 0 far from all."""

    value: float
    deviation: float
    nearness: float


class CostInterpolator:
    """Fitted on the entries of one kernel kind, precision, backend and thread count.

    Args:
        values: milliseconds or millijoules, positive, one for each of `kernels`; there must be at least one.
        uncertain: relative standard deviation of each value.
        prior: coefficients of the terms of `linear_terms` where somebody fitted them before.
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
        self._near = np.array([log_sizes(kernel, channel_block) for kernel in kernels])  # (n, features)
        self._missed = np.log(known / np.maximum(terms @ self._coefficients, 1e-9))  # (n,)
        self._centre = float(np.median(self._missed))
        self._amplitude = max(float(np.std(self._missed - self._centre)), 0.05)
        self._length, self._noise, self.cv_error = self._choose(np.sqrt(known))
        self._honest = self._calibrated()

    def __call__(self, kernel: Kernel) -> InterpolatedCost:
        """Estimate one kernel of this kind."""
        sizes = log_sizes(kernel, self._block)[None]  # (1, features)
        sum_of_terms = max(float(linear_terms(kernel, self._block) @ self._coefficients), 1e-9)
        some = self._nearest(sizes)
        share = np.diag((self._noise**2 + self._uncertain[some] ** 2) / self._amplitude**2 + 1e-6)
        covariance = _covariance(self._near[some], self._near[some], self._length) + share
        near = _covariance(sizes, self._near[some], self._length)[0]  # (neighbours,)
        missed = self._missed[some] - self._centre
        weights, correction = np.linalg.solve(covariance, np.stack((near, missed), axis=1)).T
        unexplained = max(0.0, 1.0 - float(near @ weights))
        spread = self._honest**2 * (self._amplitude**2 * unexplained + self._noise**2) + (_FAR * unexplained) ** 2
        value = sum_of_terms * float(np.exp(self._centre + near @ correction))
        return InterpolatedCost(value, float(np.sqrt(spread)), 1 - unexplained)

    def _nearest(self, sizes: np.ndarray) -> np.ndarray:
        """Indices of the entries that decide: what lies behind them says next to nothing more."""
        if len(self._near) <= _NEIGHBOURS:
            return np.arange(len(self._near))
        distance = ((self._near - sizes) ** 2).sum(1)
        return np.argpartition(distance, _NEIGHBOURS)[:_NEIGHBOURS]

    def _choose(self, matters: np.ndarray) -> tuple[float, float, float]:
        """Length, noise and error with which entries are best told from the others; the dear ones matter most."""
        if len(self._missed) < _FEW:
            return 4.0, _NOISES[1], max(self._amplitude, 0.1)
        best = (np.inf, 4.0, _NOISES[1])
        some = _spread_out(len(self._missed), _MAX_CHOOSING)
        missed, weight = self._missed[some] - self._centre, matters[some] / matters[some].sum()
        for length in _LENGTHS:
            covariance = _covariance(self._near[some], self._near[some], length)
            for noise in _NOISES:
                errors = _left_out(covariance, missed, (noise**2 + self._uncertain[some] ** 2) / self._amplitude**2)
                best = min(best, (float(weight @ np.minimum(np.abs(errors), 1.0)), length, noise))
        return best[1], best[2], best[0]

    def _calibrated(self) -> float:
        """How much larger errors are than the process expects of itself; at least 1."""
        if len(self._missed) < _FEW:
            return 1.0
        some = _spread_out(len(self._missed), _MAX_CHOOSING)
        covariance = _covariance(self._near[some], self._near[some], self._length)
        noise = (self._noise**2 + self._uncertain[some] ** 2) / self._amplitude**2
        errors = _left_out(covariance, self._missed[some] - self._centre, noise)
        return max(1.0, 1.4826 * float(np.median(np.abs(errors) / self._amplitude / _expected(covariance, noise))))


def _expected(covariance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Deviations (n,) that the errors of `_left_out` should have, in units of the amplitude."""
    deviations: np.ndarray = np.sqrt(1 / np.diag(np.linalg.inv(covariance + np.diag(noise + 1e-6))))
    return deviations


def fit_terms(terms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients, none negative, with the least sum of squared relative errors; terms (n, 4), values (n,)."""
    scale = np.maximum(terms.max(axis=0), 1e-12)
    weighted = terms / scale / values[:, None]
    # A little of everything: with few entries no term may be thought to be free.
    ridge = np.diag(np.full(terms.shape[1], 0.02 / np.median(values)))
    found, _ = nnls(np.vstack((weighted, ridge)), np.concatenate((np.ones(len(values)), np.zeros(terms.shape[1]))))
    coefficients: np.ndarray = found / scale
    return coefficients


def _covariance(left: np.ndarray, right: np.ndarray, length: float) -> np.ndarray:
    """(n, m) similarity of kernels: 1 for the same sizes, falling with their distance (Matérn, ν = 3/2)."""
    squared = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    distance = np.sqrt(3 * np.maximum(squared, 0)) / length
    similar: np.ndarray = (1 + distance) * np.exp(-distance)
    return similar


def _left_out(covariance: np.ndarray, values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Errors (n,) of each value, had it been predicted from all others (Rasmussen & Williams, eq. 5.12)."""
    inverse = np.linalg.inv(covariance + np.diag(noise + 1e-6))
    errors: np.ndarray = inverse @ values / np.diag(inverse)
    return errors


def _spread_out(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` entries, evenly taken."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
