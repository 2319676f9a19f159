"""Space and threshold rule of EDANAS (Gambella and Roveri, 2023)."""

from eetool.metrics import Thresholds
from eetool.model.gate_scores import MARGIN
from eetool.search.methods.tuned_thresholds import ThresholdLimits
from eetool.search.space.space import BRANCHES, EXITS, NEVER, SCORE, Space
from eetool.search.space.stage_ends import at_stage_ends
from eetool.tune.threshold_search import ThresholdProblem

_THRESHOLDS = (0.1, 0.2, NEVER)


def edanas_space(space: Space) -> Space:
    """Return the space with exits at the ends of stages, given branches, gates on the margin, and threshold genes."""
    space = at_stage_ends(space)
    fixed = {g.name: g.choices[1:2] for g in space.genes if g.group == EXITS}
    margin = {SCORE: (MARGIN,)}
    return space.without(BRANCHES).only({**fixed, **margin}).with_thresholds(_THRESHOLDS)


def genome_thresholds(problem: ThresholdProblem, limits: ThresholdLimits) -> Thresholds:
    """Return the thresholds that the genome holds."""
    assert limits.genes is not None  # the space has threshold genes
    return limits.genes
