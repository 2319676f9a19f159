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


def fit_costs(
    columns: np.ndarray, measured: np.ndarray, delta: float = DELTA, at_least: np.ndarray | None = None
) -> np.ndarray:
    """Costs (k,) of the parts, from how often or how much of each is in a network (n, k) and what it took (n,).

    Args:
        at_least: costs (k,) that are known to be no smaller, by default 0.

    Raises:
        ValueError: a measurement is not positive, or the sizes do not fit.
    """
    if columns.shape[:1] != measured.shape or not np.all(measured > 0):
        raise ValueError("one positive measurement is needed for every row")
    scale = np.maximum(columns.max(axis=0), 1e-12)  # (k,): NNLS judges progress by absolute size
    relative = columns / scale / measured[:, None]  # (n, k)
    known = np.zeros(len(scale)) if at_least is None else at_least * scale  # (k,)
    left = 1 - relative @ known  # (n,): what the costs above the least must explain
    weights = np.ones(len(measured))
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        costs, _ = nnls(relative * root[:, None], left * root)
        errors = np.abs(relative @ costs - left)
        updated = np.minimum(1.0, delta / np.maximum(errors, 1e-12))
        if np.allclose(updated, weights, atol=1e-4):
            break
        weights = updated
    found: np.ndarray = (costs + known) / scale
    return found


def held_out_errors(
    columns: np.ndarray,
    measured: np.ndarray,
    groups: np.ndarray | None = None,
    at_least: np.ndarray | None = None,
) -> np.ndarray:
    """Relative errors (n,) of every network, priced with costs that were fitted without it.

    `groups` (n,) are left out one after the other, by default ten folds at random. Groups of another size or kind tell
    how far the costs carry to networks unlike those fitted on.
    """
    errors = np.empty(len(measured))
    if groups is None:
        parts = list(fold_indices(len(measured)))
    else:
        parts = [(np.where(groups != group)[0], np.where(groups == group)[0]) for group in np.unique(groups)]
    for train, test in parts:
        costs = fit_costs(columns[train], measured[train], at_least=at_least)
        errors[test] = columns[test] @ costs / measured[test] - 1
    return errors


def fold_indices(count: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices to fit on and to test on, each index once in a test."""
    order = np.random.default_rng(seed).permutation(count)
    for test in np.array_split(order, min(_FOLDS, count)):
        yield np.setdiff1d(order, test), test


def relative_deviation(errors: np.ndarray) -> float:
    """Deviation of a normal distribution whose 90 % interval holds nine of ten of these relative errors.

    The tails of boards are longer than normal ones, and it is the interval that a prediction tells.
    """
    return float(np.quantile(np.abs(errors), 0.9) / 1.645)
