"""Threshold search on cached confidences: the cheapest within an accuracy drop, or the most accurate within a cost.

With all other thresholds fixed, one sort and cumulative sums give the cost and errors of every value of one threshold.
So the best value of one threshold is exact. The search optimises one threshold after another for a range of Lagrange
multipliers, the prices of an error; this gives the front. It then changes two thresholds at a time, to trade errors
between gates. Gates are not independent: each one is evaluated only on inputs that no earlier gate accepted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import NamedTuple

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds, exits_taken

_PRICES = 48  # number of prices of an error
_ROUNDS = 30
_FEW = 200  # shared thresholds that a quick search tries
_BLOCK = 2**17  # choices times examples that are evaluated at once
_GRID = 24  # values of one threshold, for each of which the best value of another is computed


class Variation(NamedTuple):
    """Every distinct value of one threshold, while the others are fixed.

    Attributes:
        values: (k,), NaN for a gate that never fires. They lie half-way between confidences, so that rounding on a
            device has no effect.
        costs: (k,) mean costs.
        errors: (k,) errors above those of full depth.
        worse: (k,) examples that only full depth classifies correctly.
    """

    values: np.ndarray
    costs: np.ndarray
    errors: np.ndarray
    worse: np.ndarray


# By index of a threshold, all other thresholds and their variation.
_LatestVariations = dict[int, tuple[Thresholds, Variation]]
# Maps mean costs and errors of many choices to the index of the best choice.
Pick = Callable[[np.ndarray, np.ndarray], int]


@dataclass(frozen=True)
class ThresholdProblem:
    """Confidences (exits, n) and correctness (exits, n) of every exit on one split, and the costs of exits."""

    confidences: np.ndarray
    correct: np.ndarray
    costs: CascadeCosts
    _latest: _LatestVariations = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def n(self) -> int:
        """Number of examples."""
        return int(self.confidences.shape[1])

    @property
    def early(self) -> int:
        """Number of early exits."""
        return len(self.costs.heads)

    @cached_property
    def _by_confidence(self) -> list[np.ndarray]:
        """Examples from the most to the least confident at each early exit."""
        return [np.argsort(-row.astype(np.float64), kind="stable") for row in self.confidences[: self.early]]

    def allowed_errors(self, max_accuracy_drop: float) -> float:
        """Return the number of errors above those of full depth that a drop in percentage points allows on the split.

        One error is charged in advance, `(errors + 1) / (n + 1) <= drop`: the finite-sample correction of conformal
        risk control (arXiv 2208.02814). Without it the drop on new data exceeds the chosen one. The result is negative
        where the split is too small for any early exit.
        """
        return max_accuracy_drop * (self.n + 1) / 100 - 1

    def evaluate(self, thresholds: Thresholds) -> tuple[float, int]:
        """Return the mean cost, and the number of errors above those of full depth."""
        taken = exits_taken(self.confidences, thresholds)
        right = self.correct[taken, np.arange(self.n)]
        cost = float(self.costs.leaving(thresholds)[taken].mean())
        return cost, int(self.correct[-1].sum() - right.sum())

    def evaluate_all(self, choices: Sequence[Thresholds]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean costs, errors and worse examples, see `Variation`, of k choices: (k,) each."""
        size = max(1, _BLOCK // max(self.n, 1))
        parts = [self._evaluate_block(choices[i : i + size]) for i in range(0, len(choices), size)]
        costs, errors, worse = (np.concatenate(column) for column in zip(*parts, strict=True))
        return costs, errors, worse

    def _evaluate_block(self, choices: Sequence[Thresholds]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        taken = np.full((len(choices), self.n), self.early)  # exit of every example, for every choice
        for index in reversed(range(self.early)):
            least = np.array([np.inf if choice[index] is None else choice[index] for choice in choices], float)
            taken[self.confidences[index] >= least[:, None]] = index  # compared in 64 bits, as `exits_taken` does
        right, full = self.correct[taken, np.arange(self.n)], self.correct[-1]
        leaving = np.stack([self.costs.leaving(choice) for choice in choices])
        return (
            np.take_along_axis(leaving, taken, 1).mean(1),
            int(full.sum()) - right.sum(1),
            (full & ~right).sum(1),
        )

    def changes(self, thresholds: Thresholds) -> tuple[int, int]:
        """Return how many examples only the cascade classifies wrongly, and how many only full depth does."""
        right = self.correct[exits_taken(self.confidences, thresholds), np.arange(self.n)]
        return int((self.correct[-1] & ~right).sum()), int((right & ~self.correct[-1]).sum())

    def vary(self, thresholds: Thresholds, index: int) -> Variation:
        """Return every distinct value of one threshold with its cost, errors and worse examples.

        The latest result for each index is kept: a search asks again for the same other thresholds until none changes.
        """
        others = replace_threshold(thresholds, index, None)
        if index not in self._latest or self._latest[index][0] != others:
            self._latest[index] = others, self._vary(others, index)
        return self._latest[index][1]

    def _vary(self, never: Thresholds, index: int) -> Variation:
        always = replace_threshold(never, index, 0.0)
        off, on = self.costs.leaving(never), self.costs.leaving(always)
        later = exits_taken(self.confidences, never)  # exit of each example if this gate does not fire
        right_later = self.correct[later, np.arange(self.n)]
        ordered = self._by_confidence[index]
        here = ordered[later[ordered] > index]  # examples that reach this exit, the most confident first
        levels, then = self.confidences[index][here].astype(np.float64), later[here]
        right_here, right_then, right_full = self.correct[index][here], right_later[here], self.correct[-1][here]
        last = np.append(np.flatnonzero(np.diff(levels)), len(levels) - 1) if len(levels) else np.zeros(0, int)

        def accumulate(amounts: np.ndarray) -> np.ndarray:
            sums: np.ndarray = np.cumsum(amounts)[last]
            return sums

        saved = accumulate(on[then] - on[index])
        added = right_then.astype(int) - right_here.astype(int)  # 1: leaving here is an error, staying is none
        wrong, worse = int(self.correct[-1].sum() - right_later.sum()), int((self.correct[-1] & ~right_later).sum())
        below = np.append(levels[last[:-1] + 1], 0.0) if len(levels) else levels
        values = np.round((levels[last] + below) / 2, 9)
        elsewhere = float(on[later[later <= index]].sum())
        if_never = float(off[later[later <= index]].sum() + off[then].sum())
        costs = np.concatenate([[if_never], elsewhere + float(on[then].sum()) - saved]) / self.n
        return Variation(
            np.append(np.nan, values),
            costs,
            np.concatenate([[wrong], wrong + accumulate(added)]),
            np.concatenate([[worse], worse + accumulate(np.where(right_full, added, 0))]),
        )


def cheapest(problem: ThresholdProblem, max_accuracy_drop: float) -> Thresholds:
    """Return thresholds of the least mean cost whose drop stays within `max_accuracy_drop` percentage points.

    They cost at most as much as full depth, which is always allowed, and as any shared threshold.
    """
    return cheapest_within(problem, problem.allowed_errors(max_accuracy_drop))


def cheapest_within(problem: ThresholdProblem, max_errors: float) -> Thresholds:
    """Return thresholds of the least mean cost with at most `max_errors` errors more than at full depth."""
    if max_errors < 0:
        return (None,) * problem.early
    return _search(problem, lambda costs, errors: int(np.lexsort((errors, costs, errors > max_errors))[0]))


def most_accurate(problem: ThresholdProblem, max_cost: float, thorough: bool = True) -> Thresholds:
    """Return thresholds of the fewest errors whose mean cost stays within `max_cost`; the cheapest where none does.

    A search that is not `thorough` tries fewer shared thresholds, and changes one threshold at a time only.
    """

    def pick(costs: np.ndarray, errors: np.ndarray) -> int:
        over = np.maximum(costs - max_cost * (1 + 1e-12), 0)
        return int(np.lexsort((costs, errors, over))[0])

    return _search(problem, pick, thorough)


def descending_choices(problem: ThresholdProblem, max_accuracy_drop: float, count: int) -> list[Thresholds]:
    """Return up to `count` choices from the safest to the cheapest, with drops on the split up to `max_accuracy_drop`.

    Each is the cheapest within a limit of errors. No error is charged in advance.
    """
    starts = [(None,) * problem.early, *price_sweep(problem)]
    limits = np.unique(np.linspace(0, max_accuracy_drop * problem.n / 100, count).astype(int))
    choices: dict[Thresholds, None] = {}
    for limit in limits if problem.early else []:

        def pick(costs: np.ndarray, errors: np.ndarray, limit: int = int(limit)) -> int:
            return int(np.lexsort((errors, costs, errors > limit))[0])

        ends = [_one_by_one(problem, start, pick) for start in _best_few(problem, [*starts, *choices], pick, 3)]
        choices[_best_few(problem, ends, pick, 1)[0]] = None
    return list(choices)


def cost_error_front(problem: ThresholdProblem) -> list[Thresholds]:
    """Return choices from full depth downwards, each cheaper than the one before it and with more errors."""
    choices = {(None,) * problem.early, *price_sweep(problem)}
    points = sorted((*problem.evaluate(choice), choice) for choice in choices if choice.count(None) < len(choice))
    full = (None,) * problem.early
    best: list[tuple[float, int, Thresholds]] = []
    for cost, errors, choice in [*points, (*problem.evaluate(full), full)]:
        if not best or errors < best[-1][1]:
            best.append((cost, errors, choice))
    return [choice for _, _, choice in reversed(best)]


def _search(problem: ThresholdProblem, pick: Pick, thorough: bool = True) -> Thresholds:
    full: Thresholds = (None,) * problem.early
    if not problem.early:
        return full
    shared = list(shared_thresholds(problem))
    shared = shared if thorough else shared[:: 1 + len(shared) // _FEW]
    starts = list(dict.fromkeys([full, *price_sweep(problem), *shared]))
    ends = dict.fromkeys(_one_by_one(problem, start, pick) for start in _best_few(problem, starts, pick, 6))
    ends = dict.fromkeys([full, *(_in_pairs(problem, end, pick) if thorough else end for end in ends)])
    return _best_few(problem, list(ends), pick, 1)[0]


def _best_few(problem: ThresholdProblem, choices: list[Thresholds], pick: Pick, count: int) -> list[Thresholds]:
    """Return up to `count` of `choices`, the best first."""
    figures = [problem.evaluate(choice) for choice in choices]
    remaining, best = list(range(len(choices))), list[Thresholds]()
    while remaining and len(best) < count:
        costs, errors = (np.array([figures[i][column] for i in remaining]) for column in (0, 1))
        best.append(choices[remaining.pop(pick(costs, errors))])
    return best


def price_sweep(problem: ThresholdProblem) -> Iterator[Thresholds]:
    """Yield the best choice for each price of an error, over a wide range of prices."""
    scale = float(problem.costs.leaving((0.0,) * problem.early).max()) * problem.n  # price of one error per example
    if not scale:
        return  # without costs all prices are equal
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
            tried = [_set_best(problem, replace_threshold(choice, first, threshold_of(v)), second, pick) for v in grid]
            tried.append((choice, problem.evaluate(choice)))
            costs, errors = (np.array([figures[column] for _, figures in tried]) for column in (0, 1))
            better = tried[pick(costs, errors)]
            if pick(np.array([tried[-1][1][0], better[1][0]]), np.array([tried[-1][1][1], better[1][1]])):
                choice = _one_by_one(problem, better[0], pick)
        if choice == before:
            break
    return choice


def _set_best(
    problem: ThresholdProblem, choice: Thresholds, index: int, pick: Pick
) -> tuple[Thresholds, tuple[float, int]]:
    values, costs, errors, _ = problem.vary(choice, index)
    best = pick(costs, errors)
    return replace_threshold(choice, index, threshold_of(values[best])), (float(costs[best]), int(errors[best]))


def shared_thresholds(problem: ThresholdProblem) -> Iterator[Thresholds]:
    """Yield every distinct threshold that all gates can share."""
    values = np.unique(problem.confidences[: problem.early].astype(np.float64))
    for value in np.round([values[0] / 2, *((values[1:] + values[:-1]) / 2)], 9).tolist():
        yield (value,) * problem.early


def threshold_of(number: float) -> float | None:
    """Return a value of a `Variation` as a threshold."""
    return None if np.isnan(number) else float(number)


def replace_threshold(thresholds: Thresholds, index: int, value: float | None) -> Thresholds:
    """Return `thresholds` with another value at one early exit."""
    return (*thresholds[:index], value, *thresholds[index + 1 :])
