"""Search for the stream policy of the least cost: a grid, then one parameter at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.stream_figures import (
    CostedPolicy,
    Frames,
    mean_costs,
    percentile_s,
    reactions_s,
    right_answers,
    segment_standard_errors,
)
from eetool.tune.stream_simulation import StreamDecisions, simulate
from eetool_runtime.manifest import StreamPolicy

_EPSILONS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5)
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9997, 0.9999)
_CHECKS = (0, 2, 4, 8, 16, 32)
_DISTANCES = (None, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_STARTS = 4  # best points of the grid that are improved further
_ROUNDS = 3
_CHUNK = 1 << 24  # decisions held at once
_ROUNDING = 1e-9


P = TypeVar("P", bound=CostedPolicy)
Decide = Callable[[Sequence[P], np.ndarray, np.ndarray, np.ndarray], StreamDecisions]


@dataclass(frozen=True)
class StreamLimits:
    """Limits of a policy.

    Attributes:
        max_accuracy_drop: percentage points below full depth with an answer per frame.
        max_reaction_s: 95th percentile of the reaction to a change of the class.
        standard_errors: so many standard errors are kept as a margin of both.
    """

    max_accuracy_drop: float
    max_reaction_s: float
    standard_errors: float = 1.0


@dataclass(frozen=True)
class Judged:
    """Figures of P policies, (P,) each.

    Attributes:
        costs: mean cost of a frame.
        accuracies: shares of right answers.
        errors: standard errors of their drops.
        reactions_s: 95th percentiles.
        reaction_errors_s: how much one standard error adds to them.
    """

    costs: np.ndarray
    accuracies: np.ndarray
    errors: np.ndarray
    reactions_s: np.ndarray
    reaction_errors_s: np.ndarray


class PolicySearch(Generic[P]):
    """Policies of one kind, judged on frames; each is simulated once."""

    def __init__(self, frames: Frames, base_rates: np.ndarray, costs: CascadeCosts, decide: Decide[P]) -> None:
        """Prepare the search.

        Args:
            frames: at least one.
            base_rates: of the classes, (K,).
            costs: that are minimised.
            decide: decisions of policies on frames.
        """
        self.frames, self.base_rates, self.costs = frames, base_rates, costs
        self._decide = decide
        final = frames.probabilities[:, -1].argmax(1)
        self.full_right = right_answers(frames, final)
        self.full_reaction_s = float(percentile_s(reactions_s(frames, final)))
        self._judged: dict[P, list[float]] = {}

    @property
    def full_accuracy(self) -> float:
        """Accuracy of full depth with an answer per frame."""
        return float(self.full_right.mean())

    def judge(self, policies: Sequence[P]) -> Judged:
        """Return the figures of these policies."""
        new = list(dict.fromkeys(p for p in policies if p not in self._judged))
        step = max(1, _CHUNK // max(1, len(self.frames.labels)))
        for start in range(0, len(new), step):
            part = new[start : start + step]
            decided = self._decide(part, self.frames.probabilities, self.frames.starts, self.base_rates)
            right = right_answers(self.frames, decided.labels)
            seconds = reactions_s(self.frames, decided.labels)
            late = percentile_s(seconds)
            costs = mean_costs(part, self.frames, decided.exits, self.costs)
            errors = segment_standard_errors(self.frames, right, self.full_right)
            columns = (costs, right.mean(1), errors, late, percentile_s(seconds, 1.0) - late)
            for policy, *values in zip(part, *(column.tolist() for column in columns), strict=True):
                self._judged[policy] = values
        return Judged(*np.array([self._judged[policy] for policy in policies]).T)

    def best_first(self, policies: Sequence[P], limits: StreamLimits) -> list[int]:
        """Return the positions of policies, the cheapest within the limits first, then those that exceed them least.

        Where a recording is misclassified as a whole, no policy keeps the margin of the reaction. Such policies come
        after those that keep it.
        """
        judged = self.judge(policies)
        lost = self.full_accuracy - judged.accuracies + limits.standard_errors * judged.errors
        over = _excess(100 * lost, max(limits.max_accuracy_drop, 0))
        late = _excess(judged.reactions_s, limits.max_reaction_s)
        nearly = judged.reactions_s + limits.standard_errors * judged.reaction_errors_s > limits.max_reaction_s
        order: list[int] = np.lexsort((-judged.accuracies, judged.costs, nearly, over + late)).tolist()
        return order

    def cheapest_of(self, policies: Sequence[P], limits: StreamLimits) -> P:
        """Return the policy of the least mean cost within the limits, or the one that exceeds them least."""
        return policies[self.best_first(policies, limits)[0]]


def _excess(values: np.ndarray, most: float) -> np.ndarray:
    over: np.ndarray = np.where(values > most + _ROUNDING, values - most, 0.0)
    return over


class StreamSearch(PolicySearch[StreamPolicy]):
    """Search over all parameters of the filter of streams."""

    def __init__(self, frames: Frames, base_rates: np.ndarray, costs: CascadeCosts) -> None:
        """Prepare the search, see `PolicySearch`."""
        super().__init__(frames, base_rates, costs, simulate)
        self._early = frames.probabilities.shape[1] - 1

    def cheapest(self, limits: StreamLimits) -> StreamPolicy:
        """Return the policy of the least mean cost within the limits, or the one that exceeds them least."""
        grid = self._grid()
        policies = [grid[i] for i in self.best_first(grid, limits)[:_STARTS]]
        for _ in range(_ROUNDS):
            before = policies
            for change in self._changes(self._early):
                tried = [[policy, *change(policy)] for policy in policies]
                self.judge([policy for own in tried for policy in own])  # at once: a simulation costs by its frames
                policies = [self.cheapest_of(own, limits) for own in tried]
            if policies == before:
                break
        return self.cheapest_of(policies, limits)

    def most_accurate(self, max_reaction_s: float) -> StreamPolicy:
        """Return the policy at full depth whose filter is the most accurate within the reaction time."""
        grid = [StreamPolicy(epsilon, (None,) * self._early) for epsilon in _EPSILONS]
        judged = self.judge(grid)
        late = _excess(judged.reactions_s, max_reaction_s)
        return grid[int(np.lexsort((-judged.accuracies, late))[0])]

    def _grid(self) -> list[StreamPolicy]:
        shared = [
            StreamPolicy(epsilon, (threshold,) * self._early, agree, check)
            for epsilon in _EPSILONS
            for threshold in _THRESHOLDS
            for agree in (True, False)
            for check in (0, 8)
        ]
        return [StreamPolicy(epsilon, (None,) * self._early) for epsilon in _EPSILONS] + shared

    def _changes(self, early: int) -> Iterator[Callable[[StreamPolicy], list[StreamPolicy]]]:
        """Yield functions that return the policies with other values of one parameter."""
        for k in range(early):
            yield (
                lambda p, k=k: [  # type: ignore[misc]
                    replace(p, thresholds=(*p.thresholds[:k], t, *p.thresholds[k + 1 :])) for t in (None, *_THRESHOLDS)
                ]
            )
        yield lambda p: [replace(p, epsilon=epsilon) for epsilon in _EPSILONS]
        yield lambda p: [replace(p, agree=agree) for agree in (True, False)]
        yield lambda p: [replace(p, check_every=check) for check in _CHECKS]
        if early:
            yield lambda p: [replace(p, skip_distance=most) for most in _DISTANCES]
