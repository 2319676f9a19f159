"""Space and threshold rule of NACHOS (arXiv 2401.13330)."""

from eetool.metrics import Thresholds
from eetool.search.methods.tuned_thresholds import ThresholdLimits
from eetool.search.space.space import BRANCHES, EXITS, GATE, Space
from eetool.search.space.stage_ends import at_stage_ends
from eetool.tune.threshold_search import ThresholdProblem

_GRID = (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8)  # that of the paper
_FIRST_AT_LEAST, _LEAST, _STEP = 0.7, 0.11, 0.1


def nachos_space(space: Space) -> Space:
    """Return the space in which exits at the ends of stages are present or absent; branches and gates are given.

    The places are those of the published code: after every stage but the last.
    """
    space = at_stage_ends(space)
    return space.without(BRANCHES, GATE).only({g.name: g.choices[:2] for g in space.genes if g.group == EXITS})


def shared_threshold(problem: ThresholdProblem, limits: ThresholdLimits) -> Thresholds:
    """Return one threshold for all exits, lowered from the deepest exit backwards until the cost limit is kept.

    The first threshold starts at no less than 0.7. Two things differ from the published code. A step that costs too
    much accuracy is undone, and costs include rejected branches.
    """
    if not problem.early:
        return ()
    choices = [(max(value, _FIRST_AT_LEAST), *(value,) * (problem.early - 1)) for value in _GRID]
    best: Thresholds = min(choices, key=lambda choice: problem.evaluate(choice)[1])
    for index in reversed(range(problem.early)):
        while _exceeds(problem, best, limits.max_cost) and (best[index] or 0) > _LEAST:
            lower = (*best[:index], round((best[index] or 0) - _STEP, 6), *best[index + 1 :])
            if limits.min_accuracy is not None and _accuracy(problem, lower) < limits.min_accuracy:
                break
            best = lower
    return best


def _exceeds(problem: ThresholdProblem, choice: Thresholds, max_cost: float | None) -> bool:
    return max_cost is not None and problem.evaluate(choice)[0] > max_cost


def _accuracy(problem: ThresholdProblem, choice: Thresholds) -> float:
    full = float(problem.correct[-1].mean())
    return full - problem.evaluate(choice)[1] / problem.n
