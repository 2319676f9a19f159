"""Thresholds of a candidate by adaptive tuning (AEBNAS), and further operating points of the same network.

Thresholds are fitted on the threshold split. Figures of a candidate are never taken from that split.
"""

import math
from dataclasses import dataclass

from eetool.metrics import Thresholds, exits_taken
from eetool.search.methods.batch_thresholds import cheapest_at_drops
from eetool.tune.threshold_search import ThresholdProblem, most_accurate

_SHARES = (0.5, 0.25)  # of the allowed drop, at further operating points
_STANDARD_ERRORS = 2  # of a mean cost, below its limit


@dataclass(frozen=True)
class ThresholdLimits:
    """Limits on the thresholds of a candidate.

    Attributes:
        max_cost: largest mean cost over inputs.
        min_accuracy: least accuracy in [0, 1].
        max_accuracy_drop: percentage points that may be lost against full depth.
        genes: thresholds that were searched as genes.
    """

    max_cost: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float = 1.0
    genes: Thresholds | None = None


def tuned_thresholds(problem: ThresholdProblem, limits: ThresholdLimits) -> tuple[Thresholds, dict[str, Thresholds]]:
    """Return the cheapest thresholds that lose no more accuracy than allowed (after AEBNAS, arXiv 2512.10671).

    Further operating points, by name, are full depth, and the cheapest at parts of the allowed drop. They need no more
    training. A network whose gates lose a point of accuracy is often dominated by a smaller network that loses none, so
    both belong to the front's candidates.

    Where the cheapest thresholds exceed the cost limit, the result is the most accurate ones within it. A margin below
    the limit allows for the cost of other inputs. Without it, half of all candidates would exceed it on the judge part.
    """
    drops = [share * limits.max_accuracy_drop for share in _SHARES]
    tuned, *others = cheapest_at_drops(problem, [limits.max_accuracy_drop, *drops])
    if limits.max_cost is not None and problem.evaluate(tuned)[0] > limits.max_cost:
        margin = _STANDARD_ERRORS * _standard_error_of_cost(problem, most_accurate(problem, limits.max_cost))
        tuned = most_accurate(problem, limits.max_cost - margin)
    further: dict[str, Thresholds] = {"full": (None,) * problem.early}
    further |= {f"{drop:g}": choice for drop, choice in zip(drops, others, strict=True)}
    known, different = {tuned}, dict[str, Thresholds]()
    for name, choice in further.items():
        if choice not in known:
            different[name] = choice
            known.add(choice)
    return tuned, different


def _standard_error_of_cost(problem: ThresholdProblem, choice: Thresholds) -> float:
    costs = problem.costs.leaving(choice)[exits_taken(problem.confidences, choice)]
    return float(costs.std() / math.sqrt(problem.n))
