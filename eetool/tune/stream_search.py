"""Search for the stream policy of the least cost: a grid, then one parameter at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.stream_figures import (
    Frames,
    mean_costs,
    percentile_s,
    reactions_s,
    right_answers,
    segment_standard_errors,
)
from eetool.tune.stream_simulation import simulate
from eetool_runtime.manifest import StreamPolicy

_EPSILONS = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5)
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9997, 0.9999)
_CHECKS = (0, 2, 4, 8, 16, 32)
_DISTANCES = (None, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_STARTS = 4  # best points of the grid that are improved further
_ROUNDS = 3
_CHUNK = 1 << 24  # decisions held at once
_ROUNDING = 1e-9


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
    """Figures of P policies.

    Attributes:
        policies: the policies.
        costs: mean cost of a frame.
        accuracies: shares of right answers.
        errors: standard errors of their drops.
        reactions_s: 95th percentiles.
        reaction_errors_s: how much one standard error adds to them.
    """

    policies: tuple[StreamPolicy, ...]
    costs: np.ndarray
    accuracies: np.ndarray
    errors: np.ndarray
    reactions_s: np.ndarray
    reaction_errors_s: np.ndarray


class StreamSearch:
    """Policies judged on frames; each policy is simulated once."""

    def __init__(self, frames: Frames, base_rates: np.ndarray, costs: CascadeCosts) -> None:
        """Prepare the search.

        Args:
            frames: at least one.
            base_rates: of the classes, (K,).
            costs: that are minimised.
        """
        self.frames, self.base_rates, self.costs = frames, base_rates, costs
        self._early = frames.probabilities.shape[1] - 1
        final = frames.probabilities[:, -1].argmax(1)
        self.full_right = right_answers(frames, final)
        self.full_reaction_s = float(percentile_s(reactions_s(frames, final)))
        self._judged: dict[StreamPolicy, list[float]] = {}

    @property
    def full_accuracy(self) -> float:
        """Accuracy of full depth with an answer per frame."""
        return float(self.full_right.mean())

    def judge(self, policies: Sequence[StreamPolicy]) -> Judged:
        """Return the figures of these policies."""
        new = list(dict.fromkeys(p for p in policies if p not in self._judged))
        step = max(1, _CHUNK // max(1, len(self.frames.labels)))
        for start in range(0, len(new), step):
            part = new[start : start + step]
            decided = simulate(part, self.frames.probabilities, self.frames.starts, self.base_rates)
            right = right_answers(self.frames, decided.labels)
            seconds = reactions_s(self.frames, decided.labels)
            late = percentile_s(seconds)
            figures = (
                mean_costs(part, self.frames, decided.exits, self.costs),
                right.mean(1),
                segment_standard_errors(self.frames, right, self.full_right),
                late,
                percentile_s(seconds, 1.0) - late,
            )
            for policy, *values in zip(part, *(column.tolist() for column in figures), strict=True):
                self._judged[policy] = values
        columns = np.array([self._judged[policy] for policy in policies]).T
        return Judged(tuple(policies), *columns)

    def cheapest(self, limits: StreamLimits, grid: Sequence[StreamPolicy] | None = None) -> StreamPolicy:
        """Return the policy of the least mean cost within the limits, or the one that exceeds them least.

        Args:
            limits: limits of accuracy and reaction.
            grid: policies to begin with, and the only kinds to try; by default all kinds.
        """
        vary = self._neighbours if grid is None else _same_kind
        grid = self._grid() if grid is None else grid

        # Where a recording is misclassified as a whole, no policy keeps the margin of its reaction.
        kept = self.judge(grid)
        slowest_s = kept.reactions_s + limits.standard_errors * kept.reaction_errors_s
        reaction_margin = limits.standard_errors if (slowest_s <= limits.max_reaction_s).any() else 0.0

        def order(judged: Judged) -> np.ndarray:
            # The margin of full depth itself is 0. It cannot be asked for less than it keeps itself.
            lacking = self.full_accuracy - judged.accuracies + limits.standard_errors * judged.errors
            over = np.maximum(100 * lacking - max(limits.max_accuracy_drop, 0), 0)
            slowest = judged.reactions_s + reaction_margin * judged.reaction_errors_s
            late = np.maximum(slowest - limits.max_reaction_s, 0)
            excess = np.where(over > _ROUNDING, over, 0) + np.where(late > _ROUNDING, late, 0)
            return np.lexsort((-judged.accuracies, judged.costs, excess))

        return self._descend(grid, order, vary)

    def most_accurate(self, max_reaction_s: float) -> StreamPolicy:
        """Return the policy at full depth whose filter is the most accurate within the reaction time."""
        grid = [StreamPolicy(epsilon, (None,) * self._early) for epsilon in _EPSILONS]
        judged = self.judge(grid)
        late = np.maximum(judged.reactions_s - max_reaction_s, 0)
        return grid[int(np.lexsort((-judged.accuracies, np.where(late > _ROUNDING, late, 0)))[0])]

    def _grid(self) -> list[StreamPolicy]:
        shared = [
            StreamPolicy(epsilon, (threshold,) * self._early, agree, check)
            for epsilon in _EPSILONS
            for threshold in _THRESHOLDS
            for agree in (True, False)
            for check in (0, 8)
        ]
        return [StreamPolicy(epsilon, (None,) * self._early) for epsilon in _EPSILONS] + shared

    def _neighbours(self, policy: StreamPolicy) -> Iterator[list[StreamPolicy]]:
        """Yield the policies that differ in one parameter, parameter by parameter."""
        for k in range(self._early):
            before, after = policy.thresholds[:k], policy.thresholds[k + 1 :]
            yield [replace(policy, thresholds=(*before, t, *after)) for t in (None, *_THRESHOLDS)]
        yield [replace(policy, epsilon=epsilon) for epsilon in _EPSILONS]
        yield [replace(policy, agree=agree) for agree in (True, False)]
        yield [replace(policy, check_every=check) for check in _CHECKS]
        if self._early:
            yield [replace(policy, skip_distance=most) for most in _DISTANCES]

    def _descend(
        self,
        grid: Sequence[StreamPolicy],
        order: Callable[[Judged], np.ndarray],
        vary: "Callable[[StreamPolicy], Iterator[list[StreamPolicy]]]",
    ) -> StreamPolicy:
        ends = []
        for start in order(self.judge(grid))[:_STARTS].tolist():
            policy = grid[start]
            for _ in range(_ROUNDS):
                before = policy
                for neighbours in vary(policy):
                    choices = [policy, *neighbours]
                    policy = choices[int(order(self.judge(choices))[0])]
                if policy == before:
                    break
            ends.append(policy)
        return ends[int(order(self.judge(ends))[0])]


def _same_kind(policy: StreamPolicy) -> Iterator[list[StreamPolicy]]:
    """Yield nothing: the grid holds all policies of a kind."""
    return iter(())


def per_frame_policies(early: int) -> list[StreamPolicy]:
    """Return gates without memory, with one threshold for all exits and with two."""
    values = (None, *_THRESHOLDS)
    shared = [StreamPolicy(1.0, (t,) * early, agree=False) for t in values]
    first = [StreamPolicy(1.0, (a, *(b,) * (early - 1)), agree=False) for a in values for b in values if early > 1]
    return [*shared, *first]


def difference_policies(early: int) -> list[StreamPolicy]:
    """Return difference detection (Temporal Decisions, arXiv 2403.07958): full depth where exit 0 sees a new scene."""
    distances = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    return [
        StreamPolicy(1.0, (None,) * early, agree=False, check_every=check, skip_distance=most)
        for most in distances
        for check in (0, 2, 4, 8, 16)
    ]
