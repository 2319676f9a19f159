"""Fixed branches and fixed thresholds, the arms of the ablation of AEBNAS (arXiv 2512.10671)."""

from eetool.metrics import Thresholds
from eetool.search.methods.tuned_thresholds import ThresholdLimits
from eetool.search.space.space import BRANCHES, Space
from eetool.tune.threshold_search import ThresholdProblem

_THRESHOLD = 0.8


def fixed_branches(space: Space) -> Space:
    """Return the space without genes of branches; NACHOS' rule then gives all of them."""
    return space.without(BRANCHES)


def fixed_thresholds(problem: ThresholdProblem, limits: ThresholdLimits) -> Thresholds:
    """Return the same threshold for every exit of every candidate."""
    return (_THRESHOLD,) * problem.early
