"""Search for stream policies within limits of accuracy and reaction."""

import numpy as np
import pytest

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.stream_rivals import AVERAGE, DIFFERENCE, FILTER, FULL_DEPTH, FULL_FILTER, GATES, RivalSearch
from eetool.tune.stream_search import StreamLimits, StreamSearch
from eetool_runtime.manifest import StreamPolicy
from tests.helpers.frame_streams import frames

COSTS = CascadeCosts((1.0, 2.0, 4.0), (0.1, 0.2))
RATES = np.full(3, 1 / 3)


def test_cheapest_keeps_the_limits_and_costs_less_than_any_gate_per_frame() -> None:
    search, limits = StreamSearch(frames(), RATES, COSTS), StreamLimits(0.0, 5.0)
    policy = search.cheapest(limits)
    judged = search.judge([policy])
    assert judged.accuracies[0] >= search.full_accuracy
    assert judged.reactions_s[0] <= 5.0
    assert policy.epsilon < 1, "the classes change rarely, so a filter must win"
    gates = [StreamPolicy(1.0, (t, t), agree=False) for t in (0.5, 0.6, 0.7, 0.8, 0.9, None)]
    assert judged.costs[0] < min(search.judge(gates).costs[search.judge(gates).accuracies >= search.full_accuracy])


def test_cheapest_with_a_shorter_reaction_costs_no_less() -> None:
    search = StreamSearch(frames(), RATES, COSTS)
    costs = [search.judge([search.cheapest(StreamLimits(0.0, limit))]).costs[0] for limit in (2.0, 6.0)]
    assert costs[0] >= costs[1]


def test_best_first_puts_policies_within_the_limits_before_cheaper_ones() -> None:
    search = StreamSearch(frames(), RATES, COSTS)
    full, hasty = StreamPolicy(1.0, (None, None)), StreamPolicy(1.0, (0.0, 0.0), agree=False)
    assert search.judge([hasty]).costs < search.judge([full]).costs
    assert search.best_first([hasty, full], StreamLimits(0.0, 60.0)) == [1, 0]
    assert search.best_first([hasty, full], StreamLimits(100.0, 60.0)) == [0, 1]


def test_rival_search_chooses_one_policy_of_every_kind() -> None:
    chosen = RivalSearch(frames(groups=2, n=100), RATES, COSTS).choose(StreamLimits(0.0, 6.0))
    assert set(chosen) == {FULL_DEPTH, FULL_FILTER, FILTER, GATES, DIFFERENCE, AVERAGE}
    assert isinstance(chosen[GATES], StreamPolicy)
    assert chosen[GATES].epsilon == 1.0
    assert all(t is None for t in chosen[DIFFERENCE].thresholds)


@pytest.mark.parametrize("names", [(GATES,), (DIFFERENCE, GATES)])
def test_rival_search_of_some_kinds_returns_those(names: tuple[str, ...]) -> None:
    assert tuple(RivalSearch(frames(groups=1, n=60), RATES, COSTS).choose(StreamLimits(1.0, 9.0), names)) == names


def test_rival_search_for_several_limits_chooses_what_a_new_search_does() -> None:
    given, limits = frames(groups=2, n=100), [StreamLimits(0.0, seconds) for seconds in (2.0, 6.0)]
    search = RivalSearch(given, RATES, COSTS)
    again = [RivalSearch(given, RATES, COSTS).choose(limit, (FILTER, AVERAGE)) for limit in limits]
    assert [search.choose(limit, (FILTER, AVERAGE)) for limit in limits] == again
