"""Choice between a server and the device alone: never worse than never offloading, by its own estimate."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.offload_cost import CallCharge, OffloadCosts, with_server
from eetool.tune.offload_choice import OffloadChoice, choose_offload
from eetool_runtime.manifest import Expected, OperatingPoint
from eetool_runtime.manifest_offload import OffloadPoint

ALONE = CascadeCosts((5.0, 20.0, 60.0), (1.0, 2.0))
GATES = (0.8, 0.7)


def figures(*shares: float) -> Expected:
    return Expected("temperature+threshold", 100, 0.9, shares, 1.0, 1e6, (None, None, None))


def local(*shares: float) -> dict[str, OperatingPoint]:
    return {"fast": OperatingPoint(GATES, figures(*shares))}


def offer(*shares: float) -> OffloadPoint:
    return OffloadPoint(GATES, figures(*shares), figures(*shares), sum(shares[1:]))


def together(wait: float, p_fail: float = 0.0) -> OffloadCosts:
    return with_server(ALONE, 1, frozenset(), CallCharge(wait, p_fail))


def chosen(wait: float, offers: list[OffloadPoint], max_share: float | None = None) -> OffloadChoice:
    points, decisions = choose_offload(local(0.5, 0.3, 0.2), {"fast": offers}, ALONE, together(wait), max_share)
    assert ("fast" in points) == decisions["fast"].offloads
    return decisions["fast"]


@st.composite
def shares(draw: st.DrawFn) -> tuple[float, ...]:
    parts = [draw(st.integers(0, 10)) for _ in range(3)]
    total = sum(parts) or 1
    return tuple(p / total for p in parts) if sum(parts) else (1.0, 0.0, 0.0)


@given(shares(), st.lists(shares(), max_size=4), st.floats(0, 200), st.floats(0, 1))
def test_choose_offload_is_never_worse_than_never_offloading(
    own: tuple[float, ...], others: list[tuple[float, ...]], wait: float, p_fail: float
) -> None:
    costs = together(wait, p_fail)
    _, decisions = choose_offload(local(*own), {"fast": [offer(*one) for one in others]}, ALONE, costs)
    decision = decisions["fast"]
    charged = decision.link_up if decision.offloads else decision.local
    assert charged is not None
    assert charged <= decision.local


@given(shares(), st.lists(shares(), min_size=1, max_size=4), st.floats(0, 200), st.floats(0, 50))
def test_choose_offload_cost_never_falls_with_the_delay(
    own: tuple[float, ...], others: list[tuple[float, ...]], wait: float, more: float
) -> None:
    offers = {"fast": [offer(*one) for one in others]}

    def charged(w: float) -> float:
        decision = choose_offload(local(*own), offers, ALONE, together(w))[1]["fast"]
        assert decision.link_up is not None
        return decision.link_up if decision.offloads else decision.local

    assert charged(wait) <= charged(wait + more) + 1e-9


def test_break_even_is_where_the_choice_turns() -> None:
    offers = [offer(0.5, 0.3, 0.2)]
    break_even = chosen(10, offers).break_even
    assert break_even is not None
    # Half of the inputs are sent: 0.3 of all would cost 22 ms more on the device, and 0.2 would cost 82 ms.
    assert break_even == pytest.approx((0.3 * 22 + 0.2 * 82) / 0.5)
    assert chosen(break_even - 0.01, offers).offloads
    assert not chosen(break_even + 0.01, offers).offloads


def test_choose_offload_never_where_nothing_is_sent() -> None:
    decision = chosen(0.0, [offer(1.0, 0.0, 0.0)])
    assert (decision.offloads, decision.break_even) == (False, None)


def test_choose_offload_limit_of_the_share_is_kept() -> None:
    offers = [offer(0.5, 0.3, 0.2), offer(0.8, 0.1, 0.1)]
    free, limited, none = (chosen(10, offers, most) for most in (None, 0.25, 0.1))
    assert free.offloads
    assert free.link_up is not None
    assert limited.share == pytest.approx(0.2)
    assert (none.offloads, none.link_up) == (False, None)


def test_choose_offload_without_figures_decides_nothing() -> None:
    points, decisions = choose_offload(
        {"fast": replace(local(1.0, 0.0, 0.0)["fast"], expected=None)}, {"fast": [offer(1, 0, 0)]}, ALONE, together(1)
    )
    assert (points, decisions) == ({}, {})
