"""Thresholds: the cheapest ones that keep the accuracy, found on cached confidences."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from eetool.tune.costs import Costs
from eetool.tune.metrics import Thresholds, exits_taken


@dataclass(frozen=True)
class Problem:
    """Confidences (exits, n) and correctness (exits, n) of every exit on the threshold split, and what exits cost."""

    confidences: np.ndarray
    correct: np.ndarray
    costs: Costs

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

    def candidates(self, exit_index: int) -> list[float | None]:
        """Thresholds that differ in what they let through: midpoints, so that rounding on a device changes nothing."""
        values = np.unique(self.confidences[exit_index].astype(np.float64))
        middles = (values[1:] + values[:-1]) / 2
        lowest = values[0] / 2
        return [None, *np.round([lowest, *middles], 9).tolist()]


def cheapest(problem: Problem, max_accuracy_drop: float) -> Thresholds:
    """Thresholds of the least mean cost whose drop stays within `max_accuracy_drop` percentage points.

    Coordinate descent over every threshold that makes a difference, from several starts: the best shared threshold, the
    best single exit, and full depth. The result is never dearer than any of these, and full depth is always allowed.
    """
    allowed = problem.allowed_errors(max_accuracy_drop)
    full: Thresholds = (None,) * problem.early
    if allowed < 0:
        return full
    starts = [full, _best(problem, allowed, _shared(problem), full)]
    for i in range(problem.early):
        starts.append(_best(problem, allowed, _varied(problem, full, i), full))
    ends = [_descend(problem, allowed, start) for start in starts]
    return min(ends, key=lambda thresholds: problem.evaluate(thresholds)[0])


def _descend(problem: Problem, allowed: float, start: Thresholds) -> Thresholds:
    current = start
    while True:
        before = current
        for i in reversed(range(problem.early)):
            current = _best(problem, allowed, _varied(problem, current, i), current)
        if current == before:
            return current


def _best(problem: Problem, allowed: float, options: Iterable[Thresholds], fallback: Thresholds) -> Thresholds:
    best, least = fallback, problem.evaluate(fallback)[0]
    for option in options:
        cost, errors = problem.evaluate(option)
        if errors <= allowed and cost < least:
            best, least = option, cost
    return best


def _varied(problem: Problem, thresholds: Thresholds, index: int) -> Iterable[Thresholds]:
    for value in problem.candidates(index):
        yield (*thresholds[:index], value, *thresholds[index + 1 :])


def _shared(problem: Problem) -> Iterable[Thresholds]:
    values = {value for i in range(problem.early) for value in problem.candidates(i)}
    for value in sorted(values, key=lambda v: 2.0 if v is None else v):
        yield (value,) * problem.early
