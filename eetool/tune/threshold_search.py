"""Thresholds: the cheapest ones that keep the accuracy, or the most accurate at a cost, found on cached confidences.

With all other thresholds held, cost and errors of every value of one threshold follow from one sort and running sums,
so the best value of one is exact. The search takes one after the other along a whole range of prices of an error
(Lagrange's multipliers: this gives the front), and then moves two at a time, so that what one gate gives up another can
spend. Gates are not independent: what a gate decides on is what the gates before it let pass.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds, exits_taken

_PRICES = 48  # of an error, from worthless to prohibitive
_ROUNDS = 30
_GRID_SHARED, _GRID_ONE = 200, 100  # choices that a cautious search looks at, of all thresholds and of one
_GRID = 24  # values of one threshold for each of which the best of another is looked for

# (mean costs, errors) of many choices to the index of the best of them
Pick = Callable[[np.ndarray, np.ndarray], int]


@dataclass(frozen=True)
class ThresholdProblem:
    """Confidences (exits, n) and correctness (exits, n) of every exit on the threshold split, and what exits cost."""

    confidences: np.ndarray
    correct: np.ndarray
    costs: CascadeCosts

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.confidences.shape[1])

    @property
    def early(self) -> int:
        """Number of early exits."""
        return len(self.costs.heads)

    def allowed_errors(self, max_accuracy_drop: float) -> float:
        """How many more errors than at full depth are allowed on the split, for a drop in percentage points.

        One error is charged in advance, `(errors + 1) / (n + 1) <= drop`: the finite-sample correction of conformal
        risk control (arXiv 2208.02814). Without it the drop on new data is larger than the one that was chosen.
        Negative where the split is too small for any early exit.
        """
        return max_accuracy_drop * (self.n + 1) / 100 - 1

    def evaluate(self, thresholds: Thresholds) -> tuple[float, int]:
        """Mean cost, and errors more than at full depth."""
        taken = exits_taken(self.confidences, thresholds)
        right = self.correct[taken, np.arange(self.n)]
        cost = float(self.costs.leaving(thresholds)[taken].mean())
        return cost, int(self.correct[-1].sum() - right.sum())

    def changes(self, thresholds: Thresholds) -> tuple[int, int]:
        """How many examples only the cascade gets wrong, and how many only full depth does."""
        right = self.correct[exits_taken(self.confidences, thresholds), np.arange(self.n)]
        return int((self.correct[-1] & ~right).sum()), int((right & ~self.correct[-1]).sum())

    def standard_error(self, thresholds: Thresholds) -> float:
        """Of the drop on the split, in percentage points."""
        worse, better = self.changes(thresholds)
        variance = (worse + better) / self.n - ((worse - better) / self.n) ** 2
        return 100 * float(np.sqrt(max(variance, 0.0) / self.n))

    def vary(self, thresholds: Thresholds, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every value of one threshold that makes a difference, with what comes of it.

        Returns:
            values (k,) with NaN for a gate that never fires, mean costs (k,), errors more than at full depth (k,).
            Values lie half-way between confidences, so that rounding on a device changes nothing.
        """
        never, always = (_with(thresholds, index, value) for value in (None, 0.0))
        off, on = self.costs.leaving(never), self.costs.leaving(always)
        later = exits_taken(self.confidences, never)  # where each example leaves if not here
        here = later > index if index else np.ones(self.n, bool)  # those that get here; an earlier gate keeps the rest
        sure, then = self.confidences[index][here].astype(np.float64), later[here]
        wrong_here, wrong_then = ~self.correct[index][here], ~self.correct[then, np.flatnonzero(here)]
        elsewhere = float(on[later[~here]].sum())
        wrong = int(self.correct[-1].sum() - (self.correct[later, np.arange(self.n)]).sum())  # if the gate never fires

        order = np.argsort(-sure, kind="stable")
        levels = sure[order]
        last = np.append(np.flatnonzero(np.diff(levels)), len(levels) - 1) if len(levels) else np.zeros(0, int)
        saved = np.cumsum(on[then[order]] - on[index])[last]
        added = np.cumsum(wrong_here[order].astype(int) - wrong_then[order].astype(int))[last]
        below = np.append(levels[last[:-1] + 1], 0.0) if len(levels) else levels
        values = np.round((levels[last] + below) / 2, 9)
        all_run = elsewhere + float(on[then].sum())
        costs = np.concatenate([[elsewhere + float(off[then].sum())], all_run - saved]) / self.n
        return np.append(np.nan, values), costs, np.concatenate([[wrong], wrong + added])


def cheapest(problem: ThresholdProblem, max_accuracy_drop: float) -> Thresholds:
    """Thresholds of the least mean cost whose drop stays within `max_accuracy_drop` percentage points.

    Never dearer than full depth, which is always allowed, nor than any shared threshold.
    """
    return cheapest_within(problem, problem.allowed_errors(max_accuracy_drop))


def cheapest_within(problem: ThresholdProblem, max_errors: float) -> Thresholds:
    """Return thresholds of the least mean cost with at most `max_errors` errors more than at full depth."""
    if max_errors < 0:
        return (None,) * problem.early
    return _search(problem, lambda costs, errors: int(np.lexsort((errors, costs, errors > max_errors))[0]))


def cheapest_with_margin(problem: ThresholdProblem, max_accuracy_drop: float, standard_errors: float) -> Thresholds:
    """As `cheapest`, but the drop on the split and some of its standard errors together stay within the limit.

    The search picks what happens to look good on the split, so what is just allowed there loses more on new data, and
    every threshold of its own is one more chance to be lucky: the room is `standard_errors` times the square root of
    how many different thresholds there are (docs/decisions/0016). So gates share one threshold until it pays that they
    do not. A standard error is that of a mean of n paired differences, 1, 0 or −1 each.
    """
    allowed = problem.allowed_errors(max_accuracy_drop)
    if standard_errors == 0 or allowed < 0 or not problem.early:
        return cheapest(problem, max_accuracy_drop)
    full: Thresholds = (None,) * problem.early

    def kept(choice: Thresholds) -> bool:
        errors, free = problem.evaluate(choice)[1], len(set(choice) - {None})
        room = standard_errors * np.sqrt(free) * problem.standard_error(choice)
        return errors <= allowed and bool(100 * errors / problem.n + room <= max_accuracy_drop)

    shared = list(_shared(problem))
    tried = [*_along_prices(problem), *shared[:: 1 + len(shared) // _GRID_SHARED]]
    best = min([full, *filter(kept, tried)], key=lambda choice: problem.evaluate(choice)[0])
    for index in (*range(problem.early), *range(problem.early)):
        values = problem.vary(best, index)[0]
        some = values[np.unique(np.linspace(0, len(values) - 1, _GRID_ONE).astype(int))]
        near = [best, *filter(kept, (_with(best, index, _value(value)) for value in some))]
        best = min(near, key=lambda choice: problem.evaluate(choice)[0])
    return best


def cheapest_per_drop(
    problem: ThresholdProblem, drops: Iterable[float], standard_errors: float
) -> dict[float, Thresholds]:
    """What `cautious` finds for each drop. A larger one is never dearer: it allows what a smaller one does."""
    found: dict[float, Thresholds] = {}
    for drop in sorted(set(drops)):
        tried = [cheapest_with_margin(problem, drop, standard_errors), *found.values()]
        found[drop] = min(tried, key=lambda choice: problem.evaluate(choice)[0])
    return found


def most_accurate(problem: ThresholdProblem, max_cost: float) -> Thresholds:
    """Thresholds of the fewest errors whose mean cost stays within `max_cost`; the cheapest where none does."""

    def pick(costs: np.ndarray, errors: np.ndarray) -> int:
        over = np.maximum(costs - max_cost * (1 + 1e-12), 0)
        return int(np.lexsort((costs, errors, over))[0])

    return _search(problem, pick)


def descending_choices(problem: ThresholdProblem, max_accuracy_drop: float, count: int) -> list[Thresholds]:
    """Up to `count` choices from the safest to the cheapest, whose drops on the split go up to `max_accuracy_drop`.

    Each is the cheapest found that makes no more errors than a limit; nothing is charged in advance.
    """
    starts = [(None,) * problem.early, *_along_prices(problem)]
    limits = np.unique(np.linspace(0, max_accuracy_drop * problem.n / 100, count).astype(int))
    found: dict[Thresholds, None] = {}
    for limit in limits if problem.early else []:

        def pick(costs: np.ndarray, errors: np.ndarray, limit: int = int(limit)) -> int:
            return int(np.lexsort((errors, costs, errors > limit))[0])

        ends = [_one_by_one(problem, start, pick) for start in _best_few(problem, [*starts, *found], pick, 3)]
        found[_best_few(problem, ends, pick, 1)[0]] = None
    return list(found)


def cost_error_front(problem: ThresholdProblem) -> list[Thresholds]:
    """Choices from full depth downwards, each cheaper than the one before it and with more errors."""
    found = {(None,) * problem.early, *_along_prices(problem)}
    points = sorted((*problem.evaluate(choice), choice) for choice in found if choice.count(None) < len(choice))
    full = (None,) * problem.early
    best: list[tuple[float, int, Thresholds]] = []
    for cost, errors, choice in [*points, (*problem.evaluate(full), full)]:
        if not best or errors < best[-1][1]:
            best.append((cost, errors, choice))
    return [choice for _, _, choice in reversed(best)]


def _search(problem: ThresholdProblem, pick: Pick) -> Thresholds:
    full: Thresholds = (None,) * problem.early
    if not problem.early:
        return full
    starts = list(dict.fromkeys([full, *_along_prices(problem), *_shared(problem)]))
    ends = dict.fromkeys(_one_by_one(problem, start, pick) for start in _best_few(problem, starts, pick, 6))
    ends = dict.fromkeys([full, *(_in_pairs(problem, end, pick) for end in ends)])
    return _best_few(problem, list(ends), pick, 1)[0]


def _best_few(problem: ThresholdProblem, choices: list[Thresholds], pick: Pick, count: int) -> list[Thresholds]:
    """Up to `count` of `choices`, the best first."""
    figures = [problem.evaluate(choice) for choice in choices]
    left, best = list(range(len(choices))), list[Thresholds]()
    while left and len(best) < count:
        costs, errors = (np.array([figures[i][what] for i in left]) for what in (0, 1))
        best.append(choices[left.pop(pick(costs, errors))])
    return best


def _along_prices(problem: ThresholdProblem) -> Iterator[Thresholds]:
    """The best choices found where an error has a price, for prices over a wide range."""
    scale = float(problem.costs.leaving((0.0,) * problem.early).max()) * problem.n  # of one error per example
    if not scale:
        return  # where nothing costs anything there is no price to pay
    choice: Thresholds = (None,) * problem.early
    for price in np.geomspace(1e3 * scale, 1e-4 * scale / problem.n, _PRICES) / problem.n:

        def pick(costs: np.ndarray, errors: np.ndarray, price: float = float(price)) -> int:
            return int(np.lexsort((errors, costs + price * errors))[0])

        choice = _one_by_one(problem, choice, pick)
        yield choice


def _one_by_one(problem: ThresholdProblem, start: Thresholds, pick: Pick) -> Thresholds:
    choice = start
    for _ in range(_ROUNDS):
        before = choice
        for index in reversed(range(problem.early)):
            choice, _ = _set_best(problem, choice, index, pick)
        if choice == before:
            break
    return choice


def _in_pairs(problem: ThresholdProblem, start: Thresholds, pick: Pick) -> Thresholds:
    """Improve two thresholds at a time: for some values of one, the best value of the other."""
    choice = start
    for _ in range(_ROUNDS):
        before = choice
        for first, second in permutations(range(problem.early), 2):
            values = problem.vary(choice, first)[0]
            grid = values[np.unique(np.linspace(0, len(values) - 1, _GRID).astype(int))]
            tried = [_set_best(problem, _with(choice, first, _value(v)), second, pick) for v in grid]
            tried.append((choice, problem.evaluate(choice)))
            costs, errors = (np.array([figures[what] for _, figures in tried]) for what in (0, 1))
            better = tried[pick(costs, errors)]
            if pick(np.array([tried[-1][1][0], better[1][0]]), np.array([tried[-1][1][1], better[1][1]])):
                choice = _one_by_one(problem, better[0], pick)
        if choice == before:
            break
    return choice


def _set_best(
    problem: ThresholdProblem, choice: Thresholds, index: int, pick: Pick
) -> tuple[Thresholds, tuple[float, int]]:
    values, costs, errors = problem.vary(choice, index)
    best = pick(costs, errors)
    return _with(choice, index, _value(values[best])), (float(costs[best]), int(errors[best]))


def _shared(problem: ThresholdProblem) -> Iterator[Thresholds]:
    values = np.unique(problem.confidences[: problem.early].astype(np.float64))
    for value in np.round([values[0] / 2, *((values[1:] + values[:-1]) / 2)], 9).tolist():
        yield (value,) * problem.early


def _value(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _with(thresholds: Thresholds, index: int, value: float | None) -> Thresholds:
    return (*thresholds[:index], value, *thresholds[index + 1 :])
