"""Charging of a server: what leaves on the device costs what it did, what is sent costs the wait."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import CachePenalty, CascadeCosts, layout_of_manifest
from eetool.latency.estimate.link import SCHEMA, CallTimes, Link, invalid_link, offload_call, percentiles
from eetool.latency.estimate.offload_cost import CallCharge, with_server
from eetool.records import read_record
from eetool_runtime import open_bundle
from eetool_runtime.execution_plan import plan_steps
from tests.helpers.tiny_bundle import write_tiny_bundle

GOLDEN = Path(__file__).parents[2] / "golden/link-1.json"
NOTHING = frozenset[int]()
Gates = tuple[float | None, ...]
COST = st.floats(0, 100)
SHARES = st.floats(0, 1)


@st.composite
def cascades(draw: st.DrawFn) -> CascadeCosts:
    early = draw(st.integers(1, 4))
    trunk, heads = (tuple(draw(COST) for _ in range(n)) for n in (early + 1, early))
    cache = None
    if draw(st.booleans()):
        cache = CachePenalty(tuple((draw(COST),) for _ in trunk), tuple(draw(COST) for _ in heads), 0.01, 0.1)
    return CascadeCosts(trunk, heads, cache=cache, call=draw(COST))


@st.composite
def cases(draw: st.DrawFn) -> tuple[CascadeCosts, int, Gates]:
    costs = draw(cascades())
    gates = tuple(draw(st.sampled_from([None, 0.5])) for _ in range(costs.early))
    return costs, draw(st.integers(0, costs.early)), gates


def test_leaving_behind_the_cut_costs_the_wait_and_after_failures_the_rest() -> None:
    local = CascadeCosts((100, 20, 7), (1, 2))
    gates = (0.5, 0.5)
    assert with_server(local, 1, NOTHING, CallCharge(30)).leaving(gates).tolist() == [101, 131, 131]
    assert with_server(local, 1, NOTHING, CallCharge(30, 0.1)).leaving(gates) == pytest.approx([101, 133.2, 133.9])
    assert with_server(local, 2, NOTHING, CallCharge(30)).leaving(gates).tolist() == [101, 123, 153]
    assert with_server(local, 0, NOTHING, CallCharge(30)).leaving(gates).tolist() == [30, 30, 30]
    assert with_server(local, 1, NOTHING, CallCharge(30)).leaving((None, 0.5)).tolist() == [100, 130, 130]


def test_leaving_sent_exits_run_without_a_gate() -> None:
    local = CascadeCosts((100, 20, 7), (1, 2))
    assert with_server(local, 1, frozenset({0}), CallCharge(0)).leaving((None, None)).tolist() == [101, 101, 101]


def test_leaving_next_network_runs_nothing_here_without_a_gate_here() -> None:
    local = CascadeCosts((10, 0, 50), (1, 5), restarts=frozenset({2}))
    assert with_server(local, 2, NOTHING, CallCharge(30)).leaving((None, None))[-1] == 30
    assert with_server(local, 2, NOTHING, CallCharge(30)).leaving((0.5, None))[-1] == 41


@pytest.mark.parametrize("tweaks", [{}, {"joined": True}, {"chained": True}], ids=str)
@pytest.mark.parametrize("after", [0, 1])
def test_leaving_on_the_device_is_charged_as_the_runtime_runs_it(
    tmp_path: Path, after: int, tweaks: dict[str, Any]
) -> None:
    """The MACs of the device's exits are those of the runtime's plan, whose later gates are on a server."""
    m = open_bundle(write_tiny_bundle(tmp_path, **tweaks)).manifest
    local = layout_of_manifest(m).arrange({c.name: float(c.macs) for c in m.components})
    plan = {s.gate.exit_index: s.macs for s in plan_steps(m, (0.5, 0.5)) if s.gate is not None}
    here = with_server(local, after + 1, NOTHING, CallCharge(0)).leaving((0.5, 0.5))
    assert here[: after + 1].tolist() == [plan[k] for k in range(after + 1)]
    assert (here[after + 1 :] == plan[after]).all()


@given(cases(), st.floats(0, 100), SHARES, st.floats(0, 50))
def test_leaving_never_falls_with_the_delay_or_with_failures(
    case: tuple[CascadeCosts, int, Gates], wait: float, p_fail: float, more: float
) -> None:
    local, cut, gates = case
    costs = with_server(local, cut, NOTHING, CallCharge(wait, p_fail)).leaving(gates)
    assert (with_server(local, cut, NOTHING, CallCharge(wait + more, p_fail)).leaving(gates) >= costs - 1e-9).all()
    assert (with_server(local, cut, NOTHING, CallCharge(wait, 1.0)).leaving(gates) >= costs - 1e-9).all()


@given(cases())
def test_leaving_with_a_free_answer_costs_no_more_than_alone(case: tuple[CascadeCosts, int, Gates]) -> None:
    local, cut, gates = case
    together = with_server(local, cut, NOTHING, CallCharge(0.0)).leaving(gates)
    assert (together <= local.leaving(gates) + 1e-9).all()
    assert np.allclose(together[:cut], local.leaving(gates)[:cut])


@given(cases())
def test_leaving_with_a_server_that_never_answers_costs_the_wait_more(case: tuple[CascadeCosts, int, Gates]) -> None:
    local, cut, gates = case
    alone = local.leaving(gates)
    lost = with_server(local, cut, NOTHING, CallCharge(7.0, 1.0)).leaving(gates)
    assert np.allclose(lost[:cut], alone[:cut])
    assert (lost[cut:] >= alone[cut:] + 7 - 1e-6).all()


TIMES = st.lists(st.floats(0, 1000), min_size=1, max_size=30)


def call_times(answered: list[float], failed: list[float]) -> CallTimes:
    return CallTimes(1024, None, None, len(answered) + len(failed), tuple(answered), tuple(failed))


@given(TIMES, st.lists(st.floats(0, 1000), max_size=10), st.floats(1, 500), st.floats(0, 500))
def test_offload_call_waits_longer_and_fails_less_with_more_time(
    answered: list[float], failed: list[float], timeout: float, more: float
) -> None:
    times = call_times(answered, failed)
    short, long = offload_call(times, timeout), offload_call(times, timeout + more)
    assert short.wait <= min(long.wait, timeout) + 1e-9
    assert len(failed) / times.n <= long.p_fail <= short.p_fail <= 1


def test_offload_call_is_the_mean_of_the_measured_calls() -> None:
    call = offload_call(call_times([10.0, 20.0, 90.0], [5.0]), 40)
    assert (call.wait, call.p_fail) == (pytest.approx((10 + 20 + 40 + 5) / 4), 0.5)


def test_percentiles_of_nothing_are_unknown() -> None:
    assert percentiles([]) is None
    assert percentiles([3.0]) == percentiles([3.0, 3.0])


def test_link_golden_is_read_and_charged() -> None:
    link = read_record(Link, GOLDEN, SCHEMA)
    assert invalid_link(link) is None
    assert offload_call(link.one_input, 40) == CallCharge(pytest.approx((11.8 + 12.4 + 31.0 + 40) / 4), 0.25)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((), "no times"),
        ((CallTimes(1, None, None, 1, ()),), "no times"),
        ((CallTimes(1, 1, 1, 1, (-1.0,)),), "no milli"),
    ],
    ids=str,
)
def test_invalid_link_without_usable_times_is_told(sizes: tuple[CallTimes, ...], words: str) -> None:
    problem = invalid_link(replace(read_record(Link, GOLDEN, SCHEMA), sizes=sizes))
    assert problem is not None
    assert words in problem
