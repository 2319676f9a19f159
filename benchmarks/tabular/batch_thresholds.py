"""Thresholds of a network, for many prices of an error or many starts at once: milliseconds instead of a second.

The step is that of `eetool.tune.threshold_search`: the best value of one threshold while the others are fixed. Here it
is taken for many choices of the others together. So the search for a limit also changes two thresholds at a time.
"""

import numpy as np

from eetool.metrics import Thresholds
from eetool.tune.threshold_search import ThresholdProblem, replace_threshold

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
        confidences = problem.confidences[: problem.early]
        self._orders = np.argsort(-confidences, axis=1, kind="stable")
        levels = np.take_along_axis(confidences, self._orders, 1)
        # Examples of equal confidence leave together.
        self._ends = [np.append(np.flatnonzero(np.diff(row)), problem.n - 1) for row in levels]
        self.midpoints = [_midpoints(row, ends) for row, ends in zip(levels, self._ends, strict=True)]
        self._wrong = (~problem.correct).astype(np.float64)

    def restart(self, values: np.ndarray) -> "ThresholdRows":
        """Continue with other choices of the same problem."""
        self.values = values
        return self

    def vary(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all values (k,) of threshold `i`, ∞ first, and for every row costs and errors (p, k) with each.

        Costs are means, and errors are counted above those of full depth.
        """
        problem = self.problem
        reached, later = self._around(i)
        off, on = self._leaving(i, gated=False), self._leaving(i, gated=True)
        wrong_later = self._wrong[later, np.arange(problem.n)]
        cost_on = np.take_along_axis(on, later, 1)
        fixed = np.where(reached, 0.0, np.take_along_axis(off, later, 1)).sum(1)  # of inputs that left before
        never = fixed + np.where(reached, np.take_along_axis(off, later, 1), 0.0).sum(1)
        base = fixed + np.where(reached, cost_on, 0.0).sum(1)
        errors = wrong_later.sum(1) - self._wrong[-1].sum()
        order, ends = self._orders[i], self._ends[i]
        saved = np.where(reached, on[:, i, None] - cost_on, 0.0)[:, order]
        added = np.where(reached, self._wrong[i] - wrong_later, 0.0)[:, order]
        costs = np.hstack([never[:, None], base[:, None] + np.cumsum(saved, 1)[:, ends]]) / problem.n
        wrong = np.hstack([errors[:, None], errors[:, None] + np.cumsum(added, 1)[:, ends]])
        return np.append(_NEVER, self.midpoints[i]), costs, wrong

    def _around(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which inputs reach exit `i` (p, n), and the exit that each takes if it does not fire (p, n)."""
        problem, p = self.problem, len(self.values)
        later = np.full((p, problem.n), problem.early)
        reached = np.ones((p, problem.n), bool)
        for other in reversed(range(problem.early)):
            if other != i:
                fires = problem.confidences[other] >= self.values[:, other, None]
                later[fires] = other
                if other < i:
                    reached &= ~fires
        return reached, later

    def _leaving(self, i: int, gated: bool) -> np.ndarray:
        """Return costs of leaving (p, exits), with the gate of exit `i` on or off."""
        rows = []
        for values in self.values:
            pattern: Thresholds = tuple(None if value == _NEVER else 0.0 for value in values)
            rows.append(self.problem.costs.leaving(replace_threshold(pattern, i, 0.0 if gated else None)))
        return np.stack(rows)


def price_sweep(rows: ThresholdRows, prices: int = _PRICES) -> list[Thresholds]:
    """Return the different choices for `prices` prices of an error, from the dearest error to the cheapest.

    A choice is such that no change of one threshold lowers the mean of cost and price times errors.
    """
    problem = rows.problem
    if not problem.early:
        return [()]
    scale = float(problem.costs.leaving((0.0,) * problem.early).max()) / problem.n
    price = np.geomspace(*_RANGE, prices)[:, None] * scale
    rows.restart(np.full((prices, problem.early), _NEVER))
    for _ in range(_ROUNDS):
        before = rows.values.copy()
        for i in reversed(range(problem.early)):
            values, costs, errors = rows.vary(i)
            rows.values[:, i] = values[(costs + price * errors).argmin(1)]
        if np.array_equal(before, rows.values):
            break
    return list(dict.fromkeys(_thresholds(row) for row in rows.values))


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


def operating_points(problem: ThresholdProblem, max_accuracy_drop: float) -> dict[str, Thresholds]:
    """Return what `eetool.search.methods.tuned_thresholds` does without limits: the tuned thresholds, and further ones.

    `tuned` loses at most `max_accuracy_drop` percentage points, the others a quarter or half of it, or nothing.
    """
    rows = ThresholdRows(problem, np.full((1, problem.early), _NEVER))
    starts = [*price_sweep(rows), *shared_grid(problem)]
    choices: dict[str, Thresholds] = {}
    for name, share in (("tuned", 1.0), ("half", 0.5), ("quarter", 0.25)):
        allowed = problem.allowed_errors(share * max_accuracy_drop)
        choices[name] = cheapest_from(rows, starts, allowed, in_pairs=name == "tuned")
        starts.append(choices[name])
    choices["full"] = (None,) * problem.early
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
