"""Non-negative robust least squares, and costs of parts from measurements of whole networks.

The time of a network is the sum over its parts: measured = columns @ costs, with non-negative costs (Lawson & Hanson,
1974). The fit minimises relative errors. Disturbed measurements are frequent on small boards, so errors beyond `DELTA`
count linearly (Huber, 1964, by iteratively reweighted least squares). `scipy.optimize.least_squares` gives the same
figures, but takes longer (docs/decisions/0027).
"""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import nnls

DELTA = 0.05
_ITERATIONS = 30
_FOLDS = 10


def robust_nnls(terms: np.ndarray, target: np.ndarray, delta: float) -> np.ndarray:
    """Return non-negative coefficients that minimise Huber's loss of `terms @ coefficients - target`.

    Args:
        terms: (n, k).
        target: (n,).
        delta: error from which the loss is linear.

    Returns:
        The coefficients (k,).
    """
    weights = np.ones(len(target))
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        coefficients, _ = nnls(terms * root[:, None], target * root)
        errors = np.abs(terms @ coefficients - target)
        updated = np.minimum(1.0, delta / np.maximum(errors, 1e-12))
        if np.allclose(updated, weights, atol=1e-4):
            break
        weights = updated
    result: np.ndarray = coefficients
    return result


def fit_costs(
    columns: np.ndarray, measured: np.ndarray, delta: float = DELTA, at_least: np.ndarray | None = None
) -> np.ndarray:
    """Fit the costs of parts to measurements of whole networks.

    Args:
        columns: amount of each part in each network, (n, k).
        measured: measurement of each network, (n,), positive.
        delta: relative error from which the loss is linear.
        at_least: known lower bounds of the costs, (k,); 0 by default.

    Returns:
        The costs (k,).

    Raises:
        ValueError: a measurement is not positive, or the sizes do not fit.
    """
    if columns.shape[:1] != measured.shape or not np.all(measured > 0):
        raise ValueError("one positive measurement is needed for every row")
    scale = np.maximum(columns.max(axis=0), 1e-12)  # (k,): the tolerance of NNLS is absolute
    relative = columns / scale / measured[:, None]  # (n, k)
    known = np.zeros(len(scale)) if at_least is None else at_least * scale  # (k,)
    remaining = 1 - relative @ known  # (n,): share for the costs above their bounds
    costs: np.ndarray = (robust_nnls(relative, remaining, delta) + known) / scale
    return costs


def held_out_errors(
    columns: np.ndarray,
    measured: np.ndarray,
    groups: np.ndarray | None = None,
    at_least: np.ndarray | None = None,
) -> np.ndarray:
    """Return the relative error of every network under costs that were fitted without it.

    Args:
        columns: amount of each part in each network, (n, k).
        measured: measurement of each network, (n,).
        groups: labels (n,); each group is held out in turn, ten random folds by default. Groups of one size or kind
            show how well costs transfer to other networks.
        at_least: known lower bounds of the costs, (k,).

    Returns:
        The errors (n,).
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
    """Yield the indices to fit on and to test on; each index is tested once."""
    order = np.random.default_rng(seed).permutation(count)
    for test in np.array_split(order, min(_FOLDS, count)):
        yield np.setdiff1d(order, test), test


def relative_deviation(errors: np.ndarray) -> float:
    """Return the deviation of a normal distribution whose 90 % interval covers nine of ten relative errors.

    Errors on boards have longer tails than a normal distribution, and predictions report this interval.
    """
    return float(np.quantile(np.abs(errors), 0.9) / 1.645)
