"""Other ways to answer streams, which the filter is compared with: each has its parameters chosen alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.moving_average import AveragePolicy, average_policies, simulate_average
from eetool.tune.stream_figures import Frames
from eetool.tune.stream_search import PolicySearch, StreamLimits, StreamSearch
from eetool.tune.stream_simulation import StreamDecisions, simulate
from eetool_runtime.manifest import StreamPolicy

FULL_DEPTH = "full depth"
GATES, AVERAGE, DIFFERENCE = "gates per frame", "moving average", "difference detection"
FILTER = "filter"
FULL_FILTER = "full depth, filter"

Policy = StreamPolicy | AveragePolicy
_THRESHOLDS = (None, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9997)
_DISTANCES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_CHECKS = (0, 2, 4, 8, 16)


def full_depth(early: int) -> StreamPolicy:
    """Return full depth with an answer per frame."""
    return StreamPolicy(1.0, (None,) * early, agree=False)


def gate_policies(early: int) -> list[StreamPolicy]:
    """Return gates without memory: a threshold for the first exit and one for the others."""
    pairs = dict.fromkeys((a, *(b,) * (early - 1)) for a in _THRESHOLDS for b in _THRESHOLDS) if early else {(): None}
    return [StreamPolicy(1.0, thresholds, agree=False) for thresholds in pairs]


def difference_policies(early: int) -> list[StreamPolicy]:
    """Return difference detection (Temporal Decisions, arXiv 2403.07958).

    Where exit 0's probabilities differ little from those at the scene's start, the answer is repeated; else the frame
    runs to the final exit, and a new scene starts.
    """
    policies = [
        StreamPolicy(1.0, (None,) * early, agree=False, check_every=check, skip_distance=most)
        for most in _DISTANCES
        for check in _CHECKS
    ]
    return [full_depth(early), *policies]


def decide(policy: Policy, frames: Frames, base_rates: np.ndarray) -> StreamDecisions:
    """Return the decisions of one policy of any kind."""
    if isinstance(policy, AveragePolicy):
        return simulate_average([policy], frames.probabilities, frames.starts, base_rates)
    return simulate([policy], frames.probabilities, frames.starts, base_rates)


@dataclass(frozen=True)
class RivalSearch:
    """Choice of one policy of every kind within the same limits, on the same frames; each policy is simulated once."""

    frames: Frames
    base_rates: np.ndarray
    costs: CascadeCosts

    def choose(self, limits: StreamLimits, names: Sequence[str] = ()) -> dict[str, Policy]:
        """Return the policies by the name of their kind, those of `names` or all; full depth has no parameter."""
        early = self.frames.probabilities.shape[1] - 1
        kinds: Mapping[str, Callable[[], Policy]] = {
            FULL_DEPTH: lambda: full_depth(early),
            FULL_FILTER: lambda: self._filters.most_accurate(limits.max_reaction_s),
            FILTER: lambda: self._filters.cheapest(limits),
            GATES: lambda: self._filters.cheapest_of(gate_policies(early), limits),
            DIFFERENCE: lambda: self._filters.cheapest_of(difference_policies(early), limits),
            AVERAGE: lambda: self._averages.cheapest_of(average_policies(early), limits),
        }
        return {name: kinds[name]() for name in names or kinds}

    @cached_property
    def _filters(self) -> StreamSearch:
        return StreamSearch(self.frames, self.base_rates, self.costs)

    @cached_property
    def _averages(self) -> PolicySearch[AveragePolicy]:
        return PolicySearch[AveragePolicy](self.frames, self.base_rates, self.costs, simulate_average)
