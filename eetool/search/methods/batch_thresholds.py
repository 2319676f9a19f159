"""Thresholds of a candidate, for many prices of an error or many starts at once: milliseconds instead of a second.

The step is that of `eetool.tune.threshold_search`: the best value of one threshold while the others are fixed. Here it
is taken for many choices of the others together. So the search for a limit also changes two thresholds at a time.
"""

from collections.abc import Sequence

import numpy as np

from eetool.metrics import Thresholds
from eetool.tune.threshold_search import ThresholdProblem

_PRICES = 16
_ROUNDS = 6
_RANGE = (100.0, 1e-3)  # prices of an error of one example, in units of the largest cost of an input
_STARTS = 3  # choices that are improved for a limit
_SHARED = 24  # thresholds for all gates that are tried
_GRID = 8  # values of one threshold, for each of which the best value of another is computed
_BETTER = 1 - 1e-12
_NEVER = np.inf


class ThresholdRows:
    """Choices of thresholds, as rows (p, early) of `values` with ∞ for a gate that never fires."""

    def __init__(self, problem: ThresholdProblem, values: np.ndarray) -> None:
        self.problem, self.values = problem, values
        confidences = problem.confidences[: problem.early].astype(np.float64)
        wrong = (~problem.correct).astype(np.int64)
        self._wrong_at_full_depth = wrong[-1].sum()
        self._examples = np.arange(problem.n)
        # For every exit, examples lie in the order of its confidences. So one gather serves all rows.
        orders = np.argsort(-confidences, axis=1, kind="stable")
        self._confidences = [confidences[:, order] for order in orders]
        levels = [ordered[i] for i, ordered in enumerate(self._confidences)]
        # Errors at every exit; then those that leaving here adds to leaving there, and zeros.
        self._wrong = [
            np.vstack([w := wrong[:, order], w[i] - w, np.zeros((1, problem.n), np.int64)]).ravel()
            for i, order in enumerate(orders)
        ]
        # Examples of equal confidence leave together.
        self._ends = [np.append(np.flatnonzero(np.diff(row)), problem.n - 1) for row in levels]
        self.midpoints = [_midpoints(row, ends) for row, ends in zip(levels, self._ends, strict=True)]
        self._values = [np.append(_NEVER, row) for row in self.midpoints]

    def restart(self, values: np.ndarray) -> "ThresholdRows":
        """Continue with other choices of the same problem."""
        self.values = values
        return self

    def vary(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all values (k,) of threshold `i`, ∞ first, and for every row costs and errors (p, k) with each.

        Costs are means, and errors are counted above those of full depth.
        """
        n, exits, ends = self.problem.n, self.problem.early + 1, self._ends[i]
        off, on = self._leaving(i, gated=False), self._leaving(i, gated=True)
        p, examples, wrong = len(off), self._examples, self._wrong[i]
        later, stays = self._around(i)
        starts = np.arange(p)[:, None] * (2 * exits)
        leaves = np.where(stays, exits, later)  # an example that left before changes nothing, as if it stayed
        taken = np.bincount((starts + later + exits * stays).ravel(), minlength=2 * exits * p).reshape(p, 2 * exits)
        never = (taken * np.hstack([off, off])).sum(1)
        always = (taken * np.hstack([on, on])).sum(1)
        saved = np.hstack([on[:, i, None] - on, np.zeros((p, exits))])
        saved = np.cumsum(saved.ravel().take(starts + leaves), 1).take(ends, 1)
        added = np.cumsum(wrong.take((n * exits) + examples + n * leaves), 1).take(ends, 1)
        errors = wrong.take(examples + n * later).sum(1, dtype=np.int64) - self._wrong_at_full_depth
        return (
            self._values[i],
            np.hstack([never[:, None], always[:, None] + saved]) / n,
            np.hstack([errors[:, None], errors[:, None] + added]),
        )

    def _around(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the exit (p, n) that each example takes if exit `i` does not fire, and whether that is before `i`.

        Examples are in the order of their confidence at exit `i`.
        """
        early, confidences = self.problem.early, self._confidences[i]
        later = np.full((len(self.values), self.problem.n), early)
        for other in reversed(range(early)):
            if other != i:
                np.copyto(later, other, where=confidences[other] >= self.values[:, other, None])
        return later, later < i

    def _leaving(self, i: int, gated: bool) -> np.ndarray:
        """Return costs of leaving (p, exits), with the gate of exit `i` on or off."""
        gates = self.values < _NEVER
        gates[:, i] = gated
        return np.stack([self._costs(*row) for row in gates.tolist()])

    def _costs(self, *gates: bool) -> np.ndarray:
        return self.problem.costs.leaving(tuple(0.0 if gate else None for gate in gates))


def price_sweep(rows: ThresholdRows, prices: int = _PRICES) -> list[Thresholds]:
    """Return the different choices for `prices` prices of an error, from the dearest error to the cheapest.

    A choice is such that no change of one threshold lowers the mean of cost and price times errors.
    """
    problem = rows.problem
    if not problem.early:
        return [()]
    scale = float(problem.costs.leaving((0.0,) * problem.early).max()) / problem.n
    price = np.geomspace(*_RANGE, prices)[:, None] * scale
    found = np.full((prices, problem.early), _NEVER)
    moving = np.arange(prices)
    for _ in range(_ROUNDS):
        rows.restart(found[moving])
        for i in reversed(range(problem.early)):
            values, costs, errors = rows.vary(i)
            rows.values[:, i] = values[(costs + price[moving] * errors).argmin(1)]
        changed = (rows.values != found[moving]).any(1)
        found[moving] = rows.values
        moving = moving[changed]  # a row that a round leaves as it is stays so
        if not len(moving):
            break
    return list(dict.fromkeys(_thresholds(row) for row in found))


def cheapest_from(
    rows: ThresholdRows, starts: list[Thresholds], max_errors: float, in_pairs: bool = True
) -> Thresholds:
    """Return thresholds of little mean cost with at most `max_errors` errors more than at full depth.

    Args:
        rows: of the problem.
        starts: choices, of which the best few are improved.
        max_errors: limit; below 0 only full depth is allowed.
        in_pairs: change two thresholds at a time as well.
    """
    problem = rows.problem
    full: Thresholds = (None,) * problem.early
    if max_errors < 0 or not problem.early:
        return full
    choices = [full, *starts]
    costs, errors, _ = problem.evaluate_all(choices)
    order = np.lexsort((errors, costs, errors > max_errors))[:_STARTS]
    values = np.array([_numbers(choices[k]) for k in order if errors[k] <= max_errors])
    best, cost = _one_by_one(rows.restart(values), max_errors)
    for _ in range(_ROUNDS if in_pairs and problem.early > 1 else 0):
        near, found = _in_pairs(rows, best, max_errors)
        if found >= cost * _BETTER:
            break
        best, cost = _one_by_one(rows.restart(near[None]), max_errors)
    return _thresholds(best)


def _one_by_one(rows: ThresholdRows, max_errors: float) -> tuple[np.ndarray, float]:
    """Improve every row one threshold after another, and return the best row (early,) and its cost."""
    lowest = np.full(len(rows.values), np.inf)
    for _ in range(_ROUNDS):
        before = lowest.copy()
        for i in reversed(range(rows.problem.early)):
            values, costs, errors = rows.vary(i)
            costs = np.where(errors <= max_errors, costs, np.inf)
            at = costs.argmin(1)
            lowest = costs[np.arange(len(costs)), at]
            rows.values[:, i] = values[at]
        if (lowest >= before * _BETTER).all():
            break
    return rows.values[lowest.argmin()].copy(), float(lowest.min())


def _in_pairs(rows: ThresholdRows, start: np.ndarray, max_errors: float) -> tuple[np.ndarray, float]:
    """Return the best choice that differs in two thresholds, one of them on a grid, and its cost."""
    changed = []
    for first in range(len(start)):
        values = np.append(_NEVER, rows.midpoints[first])
        for value in values[np.unique(np.linspace(0, len(values) - 1, _GRID).astype(int))]:
            changed.append(np.where(np.arange(len(start)) == first, value, start))
    rows.restart(np.array(changed))
    best, lowest = start, np.inf
    for second in range(len(start)):
        values, costs, errors = rows.vary(second)
        costs = np.where(errors <= max_errors, costs, np.inf)
        row, at = np.unravel_index(int(costs.argmin()), costs.shape)
        if costs[row, at] < lowest:
            best, lowest = rows.values[row].copy(), float(costs[row, at])
            best[second] = values[at]
    return best, lowest


def shared_grid(problem: ThresholdProblem) -> list[Thresholds]:
    """Return thresholds that all gates share, from frequent to rare exits."""
    if not problem.early:
        return []
    levels = np.quantile(problem.confidences[: problem.early], np.linspace(0, 1, _SHARED))
    return [(float(np.round(level, 9)),) * problem.early for level in levels]


def cheapest_at_drops(problem: ThresholdProblem, drops: Sequence[float]) -> list[Thresholds]:
    """Return thresholds of little mean cost for accuracy drops in percentage points, the largest first.

    For the first drop two thresholds are changed at a time as well.
    """
    rows = ThresholdRows(problem, np.full((1, problem.early), _NEVER))
    starts = [*price_sweep(rows), *shared_grid(problem)]
    choices = list[Thresholds]()
    for drop in drops:
        choices.append(cheapest_from(rows, starts, problem.allowed_errors(drop), in_pairs=not choices))
        starts.append(choices[-1])
    return choices


def _midpoints(levels: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return thresholds half-way between distinct confidences, so that rounding has no effect."""
    below = np.append(levels[ends[:-1] + 1], 0.0)
    middle: np.ndarray = np.round((levels[ends] + below) / 2, 9)
    return middle


def _thresholds(values: np.ndarray) -> Thresholds:
    return tuple(None if value == _NEVER else float(value) for value in values)


def _numbers(choice: Thresholds) -> list[float]:
    return [_NEVER if value is None else value for value in choice]
