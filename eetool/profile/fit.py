"""From measurements of whole networks to what their parts cost: non-negative, robust, on the relative error.

The time of a network is the sum of its parts, each a number of times: measured = columns @ costs, with costs that
cannot be negative (Lawson & Hanson, 1974). What counts is the relative error, and boards have bad moments that no
network is to blame for: errors beyond `DELTA` count linearly (Huber, 1964, by iteratively reweighted least squares).
"""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import nnls

DELTA = 0.05
_ITERATIONS = 30
_FOLDS = 10


def fit_costs(columns: np.ndarray, measured: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """Costs (k,) of the parts, from how often or how much of each is in a network (n, k) and what it took (n,).

    Raises:
        ValueError: a measurement is not positive, or the sizes do not fit.
    """
    if columns.shape[:1] != measured.shape or not np.all(measured > 0):
        raise ValueError("one positive measurement is needed for every row")
    scale = np.maximum(columns.max(axis=0), 1e-12)  # (k,): NNLS judges progress by absolute size
    relative = columns / scale / measured[:, None]  # (n, k)
    weights = np.ones(len(measured))
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        costs, _ = nnls(relative * root[:, None], root)
        errors = np.abs(relative @ costs - 1)
        updated = np.minimum(1.0, delta / np.maximum(errors, 1e-12))
        if np.allclose(updated, weights, atol=1e-4):
            break
        weights = updated
    found: np.ndarray = costs / scale
    return found


def held_out_errors(columns: np.ndarray, measured: np.ndarray, seed: int = 0) -> np.ndarray:
    """Relative errors (n,) of every network, priced with costs that were fitted without it, in ten folds."""
    errors = np.empty(len(measured))
    for train, test in folds(len(measured), seed):
        costs = fit_costs(columns[train], measured[train])
        errors[test] = columns[test] @ costs / measured[test] - 1
    return errors


def folds(count: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices to fit on and to test on, each index once in a test."""
    order = np.random.default_rng(seed).permutation(count)
    for test in np.array_split(order, min(_FOLDS, count)):
        yield np.setdiff1d(order, test), test


def relative_deviation(errors: np.ndarray) -> float:
    """Standard deviation that relative errors would have, were they normal: 1.4826 × their median size."""
    return float(1.4826 * np.median(np.abs(errors)))
