"""Rules by which search methods choose the thresholds of a candidate."""

from collections.abc import Callable

from eetool.metrics import Thresholds
from eetool.search.methods.baselines.edanas import genome_thresholds
from eetool.search.methods.baselines.fixed import fixed_thresholds
from eetool.search.methods.baselines.nachos import shared_threshold
from eetool.search.methods.tuned_thresholds import ThresholdLimits, tuned_thresholds
from eetool.tune.threshold_search import ThresholdProblem

TUNED, SHARED, GENES, FIXED = "tuned", "shared", "genes", "fixed"

_RULES: dict[str, Callable[[ThresholdProblem, ThresholdLimits], Thresholds]] = {
    SHARED: shared_threshold,
    GENES: genome_thresholds,
    FIXED: fixed_thresholds,
}


def choose_thresholds(
    rule: str, problem: ThresholdProblem, limits: ThresholdLimits
) -> tuple[Thresholds, dict[str, Thresholds]]:
    """Return the thresholds of a candidate by a rule, and further operating points by name, which `tuned` alone has."""
    if rule == TUNED:
        return tuned_thresholds(problem, limits)
    return _RULES[rule](problem, limits), {}
