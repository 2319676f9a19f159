"""How the methods find a candidate's thresholds, each on the threshold split, which figures are never taken from."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from eetool.metrics import Thresholds, exits_taken
from eetool.tune.threshold_search import ThresholdProblem, cheapest, most_accurate

TUNED = "tuned"
FIXED = 0.8
_GRID = (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8)  # NACHOS'
_SHARES = (0.25, 0.5)  # of the allowed drop, at further operating points
_STANDARD_ERRORS = 2  # of a mean cost, below its limit
_FIRST_AT_LEAST, _LEAST, _STEP = 0.7, 0.11, 0.1


@dataclass(frozen=True)
class ThresholdLimits:
    """What thresholds are to keep to: the most that the mean cost may be, the least accuracy, in [0, 1], the points
    that may be lost against full depth; and thresholds that were searched as genes.
    """

    max_cost: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float = 1.0
    genes: Thresholds | None = None


def tuned_thresholds(problem: ThresholdProblem, cut: ThresholdLimits) -> Thresholds:
    """Adaptive tuning: the cheapest that lose no more than allowed; where these miss the limit, the most accurate that
    keep to it (after the adaptive threshold tuning of AEBNAS, arXiv 2512.10671), with room for what other inputs cost:
    just at the limit, half of all candidates would be found over it by their judges.
    """
    choice = cheapest(problem, cut.max_accuracy_drop)
    if cut.max_cost is None or problem.evaluate(choice)[0] <= cut.max_cost:
        return choice
    room = _STANDARD_ERRORS * _standard_error_of_cost(problem, most_accurate(problem, cut.max_cost))
    return most_accurate(problem, cut.max_cost - room)


def shared_threshold(problem: ThresholdProblem, cut: ThresholdLimits) -> Thresholds:
    """One threshold for all exits, the first never below 0.7, then lowered from the deepest exit backwards until the
    limit is kept (NACHOS, arXiv 2401.13330). A lowering that costs too much accuracy is taken back, and costs hold
    rejected branches, both different from the published code.
    """
    if not problem.early:
        return ()
    choices = [(max(value, _FIRST_AT_LEAST), *(value,) * (problem.early - 1)) for value in _GRID]
    best: Thresholds = min(choices, key=lambda choice: problem.evaluate(choice)[1])
    for index in reversed(range(problem.early)):
        while cut.max_cost is not None and problem.evaluate(best)[0] > cut.max_cost and (best[index] or 0) > _LEAST:
            lower = (*best[:index], round((best[index] or 0) - _STEP, 6), *best[index + 1 :])
            if cut.min_accuracy is not None and _accuracy(problem, lower) < cut.min_accuracy:
                break
            best = lower
    return best


def genome_thresholds(problem: ThresholdProblem, cut: ThresholdLimits) -> Thresholds:
    """Those of the genome (EDANAS)."""
    assert cut.genes is not None  # the space has threshold genes
    return cut.genes


def fixed_thresholds(problem: ThresholdProblem, cut: ThresholdLimits) -> Thresholds:
    """The same for every exit of every candidate."""
    return (FIXED,) * problem.early


RULES: dict[str, Callable[[ThresholdProblem, ThresholdLimits], Thresholds]] = {
    TUNED: tuned_thresholds,
    "shared": shared_threshold,
    "genes": genome_thresholds,
    "fixed": fixed_thresholds,
}


def full_and_between(problem: ThresholdProblem, cut: ThresholdLimits) -> dict[str, Thresholds]:
    """Full depth, and the cheapest that lose a part of what is allowed: to choose again costs nothing, and a network
    whose gates lose a point is beaten by a smaller one that loses none.
    """
    full: Thresholds = (None,) * problem.early
    drops = [share * cut.max_accuracy_drop for share in _SHARES]
    found = {"full": full, **{f"{drop:g}": cheapest(problem, drop) for drop in drops}}
    names = {choice: name for name, choice in reversed(found.items())}  # of equal choices the first
    return {name: choice for name, choice in found.items() if names[choice] == name}


def _standard_error_of_cost(problem: ThresholdProblem, choice: Thresholds) -> float:
    costs = problem.costs.leaving(choice)[exits_taken(problem.confidences, choice)]
    return float(costs.std() / math.sqrt(problem.n))


def _accuracy(problem: ThresholdProblem, choice: Thresholds) -> float:
    full = float(problem.correct[-1].mean())
    return full - problem.evaluate(choice)[1] / problem.n
