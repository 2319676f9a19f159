"""Costs by network: taken apart and put together they are those of the cascade."""

from itertools import product

import pytest

from eetool.latency.estimate.cascade_cost import CachePenalty, CascadeCosts
from eetool.latency.estimate.network_costs import join_costs, split_costs

# A network with one exit inside, and one without: their exits are 0, 1 and 2.
ALONE = CascadeCosts((10.0, 0.0, 50.0), (1.0, 5.0), restarts=frozenset({2}), call=0.5)
TOGETHER = CascadeCosts((10.0, 0.0, 50.0), (1.0, 5.0), frozenset({1}), restarts=frozenset({2}), call=0.5)
CACHE = CachePenalty(((0.1,), (), (5.0,)), (0.2, 0.5), 0.1, 1.0)
EXITS = (2, 1)


@pytest.mark.parametrize(("costs", "ensemble"), [(ALONE, False), (TOGETHER, True)])
@pytest.mark.parametrize("cache", [None, CACHE])
def test_join_costs_of_the_same_order_are_the_same(
    costs: CascadeCosts, ensemble: bool, cache: CachePenalty | None
) -> None:
    whole = CascadeCosts(
        costs.trunk, costs.heads, costs.read_later, costs.reads, cache, restarts=costs.restarts, call=costs.call
    )
    joined = join_costs(split_costs(whole, EXITS), whole, ensemble)
    for thresholds in product((None, 0.5), repeat=2):
        assert joined.leaving(thresholds).tolist() == whole.leaving(thresholds).tolist()


def test_join_costs_other_order_moves_the_final_cost() -> None:
    first, second = split_costs(ALONE, EXITS)
    swapped = join_costs([second, first], ALONE, ensemble=False)
    assert swapped.leaving((None, None)).tolist() == [0.5, 10.5, 15.5], "neither the large network nor the exit runs"
    assert swapped.leaving((0.5, 0.5)).tolist() == [50.5, 61.5, 66.5]
    together = join_costs([second, first], ALONE, ensemble=True)
    assert together.leaving((None, None)).tolist() == [50.5, 60.5, 65.5], "the sum reads the large network"


def test_join_costs_one_network_has_its_own_exits() -> None:
    first, second = split_costs(TOGETHER, EXITS)
    assert join_costs([first], TOGETHER, ensemble=True).leaving((0.5,)).tolist() == [11.5, 16.5]
    assert join_costs([second], TOGETHER, ensemble=True).leaving(()).tolist() == [50.5]


def test_split_costs_reads_inside_a_network_stay() -> None:
    """The third exit reads the first, which is of the same network; a classifier in the trunk reads the second."""
    costs = CascadeCosts(
        (4.0, 4.0, 4.0, 8.0),
        (1.0, 2.0, 3.0),
        frozenset({1}),
        (frozenset(), frozenset(), frozenset({0})),
        restarts=frozenset({1}),
    )
    first, second = split_costs(costs, (1, 3))
    assert first.reads == (frozenset(),)
    assert second.reads == (frozenset(), frozenset(), frozenset({0}))
    assert second.trunk == (4.0, 4.0)
