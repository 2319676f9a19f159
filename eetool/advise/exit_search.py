"""Search for the exits whose cascade is cheapest within an accuracy drop, on logits of held-out examples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.tune.cross_fitting import LabelledLogits, calibrate, threshold_problem
from eetool.tune.margin_search import MarginSearch
from eetool.tune.threshold_search import ThresholdProblem

_BEAM = 10  # choices of one size that are extended
_THRESHOLDS = 48  # values of a shared threshold that are tried
_FINALISTS = 2  # of each number of exits
_WORTH = 0.01  # share of the cost that one more exit has to save
STANDARD_ERRORS = 1.0  # margin of thresholds, as `eetool tune` has it by default


class Placed(Protocol):
    """An early exit that is tried; of several at one `place` a cascade has one at most."""

    @property
    def place(self) -> int:
        """Position among all places, from shallow to deep."""


E = TypeVar("E", bound=Placed)
Costs = Callable[[Sequence[E]], CascadeCosts]


@dataclass(frozen=True)
class HeldOut(Generic[E]):
    """Logits of trial exits on held-out examples.

    Attributes:
        exits: the trial exits, from shallow to deep.
        logits: (exits + 1, n, classes), the final exit last.
        labels: int64 (n,).
    """

    exits: tuple[E, ...]
    logits: np.ndarray
    labels: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Correctness of every exit, bool (exits + 1, n)."""
        correct: np.ndarray = self.logits.argmax(2) == self.labels
        return correct

    def select(self, exits: Sequence[E]) -> LabelledLogits:
        """Return the logits of some exits and the final one."""
        index = [*(self.exits.index(e) for e in exits), len(self.exits)]
        return LabelledLogits(self.logits[index], self.labels)


def find_exits(held: HeldOut[E], costs: Costs[E], max_accuracy_drop: float, most: int) -> list[tuple[E, ...]]:
    """Return the advised choice of up to `most` exits, then the other good ones, the cheapest first.

    Choices of one exit are all tried. Each of the best of one size is extended by every other exit. They are compared
    with one threshold for all gates, and the best of each size with thresholds as `tune` chooses them. The advised one
    has the fewest exits of those that cost at most 1 % more than the cheapest.

    Args:
        held: logits of all trial exits.
        costs: costs of a cascade.
        max_accuracy_drop: percentage points that thresholds may lose.
        most: largest number of exits.
    """
    whole = calibrate(held.select(held.exits), MAX_SOFTMAX)
    problem = threshold_problem(whole, held.select(held.exits), costs(held.exits[:1]), MAX_SOFTMAX)
    confidences, correct = problem.confidences, problem.correct
    position = {e: i for i, e in enumerate(held.exits)}

    def rough(exits: tuple[E, ...]) -> float:
        rows = [position[e] for e in exits]
        return _shared_cost(confidences[rows], correct[[*rows, -1]], costs(exits), max_accuracy_drop)

    beam: list[tuple[E, ...]] = [()]
    seen: dict[tuple[E, ...], float] = {}
    for _ in range(most):
        grown = {choice for exits in beam for choice in _extended(exits, held.exits)}
        for choice in grown - seen.keys():
            seen[choice] = rough(choice)
        beam = sorted(grown, key=lambda choice: (seen[choice], [position[e] for e in choice]))[:_BEAM]
    ranked = sorted(seen, key=lambda choice: (seen[choice], [position[e] for e in choice]))
    finalists = [c for size in range(1, most + 1) for c in [x for x in ranked if len(x) == size][:_FINALISTS]]
    tuned = {choice: _tuned_cost(held, choice, costs(choice), max_accuracy_drop) for choice in finalists}
    enough = (1 + _WORTH) * min(tuned.values())
    advised = min((c for c in tuned if tuned[c] <= enough), key=lambda choice: (len(choice), tuned[choice]))
    return [advised, *sorted((c for c in tuned if c != advised), key=lambda choice: (tuned[choice], len(choice)))]


def _extended(exits: tuple[E, ...], candidates: Sequence[E]) -> Iterator[tuple[E, ...]]:
    """Yield `exits` with one more at a place of its own, from shallow to deep."""
    taken = {e.place for e in exits}
    for candidate in candidates:
        if candidate.place not in taken:
            yield tuple(sorted((*exits, candidate), key=lambda e: e.place))


def _shared_cost(confidences: np.ndarray, correct: np.ndarray, costs: CascadeCosts, max_accuracy_drop: float) -> float:
    """Return the least mean cost with one threshold for all gates, within the drop."""
    early, n = confidences.shape
    leaving = costs.leaving((0.0,) * early)
    most_errors = max_accuracy_drop * (n + 1) / 100 - 1
    best = float(costs.leaving((None,) * early)[-1])
    for threshold in np.quantile(confidences, np.linspace(0, 1, _THRESHOLDS)):
        fires = np.vstack([confidences >= threshold, np.ones((1, n), bool)])
        taken = fires.argmax(0)
        errors = int(correct[-1].sum() - correct[taken, np.arange(n)].sum())
        if errors <= most_errors:
            best = min(best, float(leaving[taken].mean()))
    return best


def _tuned_cost(held: HeldOut[E], exits: tuple[E, ...], costs: CascadeCosts, max_accuracy_drop: float) -> float:
    problem = tuned_problem(held, exits, costs)
    return problem.evaluate(MarginSearch(problem, STANDARD_ERRORS).cheapest(max_accuracy_drop))[0]


def tuned_problem(held: HeldOut[E], exits: Sequence[E], costs: CascadeCosts) -> ThresholdProblem:
    """Return the problem of choosing thresholds on the held-out examples."""
    chosen = held.select(exits)
    return threshold_problem(calibrate(chosen, MAX_SOFTMAX), chosen, costs, MAX_SOFTMAX)
