"""Covariance and leave-one-out errors of Gaussian processes (Rasmussen & Williams, 2006).

scikit-learn gives the same figures, but takes longer to import and to answer (docs/decisions/0027).
"""

import numpy as np


def matern_covariance(left: np.ndarray, right: np.ndarray, length: float) -> np.ndarray:
    """Return the Matérn covariance with ν = 3/2 between two sets of points.

    Args:
        left: points (n, features).
        right: points (m, features).
        length: distance over which the covariance falls.

    Returns:
        The covariance (n, m): 1 for equal points, falling with their distance.
    """
    squared = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    distance = np.sqrt(3 * np.maximum(squared, 0)) / length
    covariance: np.ndarray = (1 + distance) * np.exp(-distance)
    return covariance


def leave_one_out_errors(inverse: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the error of predicting each value from all others (eq. 5.12).

    Args:
        inverse: inverse of the covariance of the values, noise included, (n, n).
        values: centred values (n,).

    Returns:
        The errors (n,).
    """
    errors: np.ndarray = inverse @ values / np.diag(inverse)
    return errors


def leave_one_out_deviations(inverse: np.ndarray) -> np.ndarray:
    """Return the standard deviations (n,) that the process expects of `leave_one_out_errors`."""
    deviations: np.ndarray = np.sqrt(1 / np.diag(inverse))
    return deviations
