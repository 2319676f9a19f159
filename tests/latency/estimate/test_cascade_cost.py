"""Costs of leaving a cascade: every component that ran is charged, and no other."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import (
    CachePenalty,
    CascadeCosts,
    CascadeLayout,
    find_restarts,
    layout_of_manifest,
)
from eetool_runtime import open_bundle
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import Component, Exit, Manifest
from tests.helpers.tiny_bundle import write_tiny_bundle

PER_COMPONENT_MS, PER_MB_MS = 0.006, 0.03


@pytest.mark.parametrize(
    ("thresholds", "leaving"),
    [
        ((0.5, 0.5), [100 + 1, 100 + 1 + 20 + 2, 100 + 1 + 20 + 2 + 7]),
        ((None, 0.5), [100, 100 + 20 + 2, 100 + 20 + 2 + 7]),
        ((0.5, None), [100 + 1, 100 + 1 + 20, 100 + 1 + 20 + 7]),
        ((None, None), [100, 100 + 20, 100 + 20 + 7]),
    ],
)
def test_leaving_rejected_exits_are_charged_and_skipped_exits_are_not(
    thresholds: tuple[float | None, ...], leaving: list[float]
) -> None:
    assert CascadeCosts((100, 20, 7), (1, 2)).leaving(thresholds).tolist() == leaving


def test_leaving_without_early_exits_is_one_cost() -> None:
    assert CascadeCosts((100,), ()).leaving(()).tolist() == [100]


# Two networks: exits 0 and 1 are of the first, which nothing behind exit 1 reads.
@pytest.mark.parametrize(
    ("thresholds", "leaving"),
    [
        ((None, None), [0, 0, 50]),
        ((0.5, None), [11, 11, 61]),
        ((None, 0.5), [10, 15, 65]),
        ((0.5, 0.5), [11, 16, 66]),
    ],
)
def test_leaving_restart_charges_only_stretches_that_an_exit_needs(
    thresholds: tuple[float | None, ...], leaving: list[float]
) -> None:
    costs = CascadeCosts((10, 0, 50), (1, 5), restarts=frozenset({2}))
    assert costs.leaving(thresholds).tolist() == leaving
    called = replace(costs, call=3.0).leaving(thresholds)
    assert called.tolist() == [cost + 3 for cost in leaving]


def test_leaving_restart_has_no_cache_penalty_of_what_does_not_run() -> None:
    cache = CachePenalty(((1.0,), (), (5.0,)), (0.5, 0.5), 0.1, 0.0)
    costs = CascadeCosts((10, 0, 50), (1, 5), cache=cache, restarts=frozenset({2}))
    assert costs.leaving((None, None)).tolist() == [0, 0, 50], "one component alone has none"
    assert costs.leaving((None, 0.5))[-1] == pytest.approx(65 + 3 * 0.1)


def test_find_restarts_crossing_tensors_join_stretches() -> None:
    assert find_restarts(4, []) == {1, 2, 3}
    assert find_restarts(4, [(0, 1), (2, 2)]) == {2, 3}
    assert find_restarts(4, [(0, 3)]) == frozenset()


def test_full_pass_leaves_out_what_only_exits_need() -> None:
    layout = CascadeLayout((("seg0",), (), ("last",)), ("exit0", "exit1"), restarts=frozenset({2}))
    assert layout.full_pass() == ["last"]
    assert replace(layout, restarts=frozenset()).full_pass() == ["seg0", "last"]
    assert replace(layout, read_later=frozenset({1})).full_pass() == ["seg0", "exit1", "last"]


def test_leaving_other_number_of_thresholds_raises_value_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        CascadeCosts((100, 20), (1,)).leaving((0.5, 0.5))


def test_leaving_other_values_of_the_same_gates_is_not_computed_again() -> None:
    costs = CascadeCosts((100, 20), (1,))
    assert costs.leaving((0.5,)) is costs.leaving((0.7,))
    assert costs.leaving((None,)) is not costs.leaving((0.7,))


def test_leaving_result_cannot_be_changed() -> None:
    costs = CascadeCosts((100, 20), (1,)).leaving((0.5,))
    with pytest.raises(ValueError, match="read-only"):
        costs[0] = 0


def test_arrange_costs_by_component_gives_costs_by_exit(tmp_path: Path) -> None:
    manifest = open_bundle(write_tiny_bundle(tmp_path)).manifest
    latency_ms = {"seg0": 8.0, "exit0": 1.0, "seg1": 4.0, "exit1": 2.0, "exit2": 16.0}
    arranged = layout_of_manifest(manifest).arrange(latency_ms)
    assert arranged == CascadeCosts((8.0, 4.0, 16.0), (1.0, 2.0))


TEMPLATE: list[Manifest] = []


@pytest.fixture(scope="module", autouse=True)
def _template(tmp_path_factory: pytest.TempPathFactory) -> None:
    TEMPLATE.append(open_bundle(write_tiny_bundle(tmp_path_factory.mktemp("template"))).manifest)


@st.composite
def cascades(draw: st.DrawFn) -> tuple[list[Component], list[Exit]]:
    """Segments in a chain, exits apart or joined with their segment, and exits and segments that read earlier exits."""
    early = draw(st.integers(0, 4))
    components: list[Component] = []
    exits = []
    feature = "input"

    def add(name: str, kind: str, inputs: list[str], outputs: list[str]) -> None:
        components.append(Component(name, kind, tuple(inputs), tuple(outputs), draw(st.integers(0, 1000)), 1))

    for i in range(early + 1):
        answers = [f"exit{before}_logits" for before in range(i)]
        read = draw(st.lists(st.sampled_from(answers), unique=True)) if answers else []
        for part in range(draw(st.integers(1 if i == 0 else 0, 2))):
            read_by_segment = draw(st.lists(st.sampled_from(answers), unique=True, max_size=1)) if answers else []
            add(f"seg{i}{part}", "segment", [feature, *read_by_segment], [f"f{i}{part}"])
            feature = f"f{i}{part}"
        outputs = [f"exit{i}_logits", f"exit{i}_confidence"]
        if i < early and draw(st.booleans()):
            add(f"joined{i}", "segment", [feature, *read], [f"g{i}", *outputs])
            feature = f"g{i}"
        else:
            add(f"exit{i}", "exit", [feature, *read], outputs)
        exits.append(Exit(None, components[-1].name, *outputs, f"exit{i}_temperature"))
    return components, exits


def simulated(
    manifest: Manifest, thresholds: tuple[float | None, ...], weights_mb: dict[str, float]
) -> dict[int, float]:
    """Return the MACs and the cache penalty of everything that the runtime runs until each gate."""
    ran: list[str] = []
    costs = {}
    macs = {c.name: c.macs for c in manifest.components}
    for step in plan_steps(manifest, thresholds):
        ran.append(step.component)
        if step.gate is not None:
            weights = [weights_mb[name] for name in ran]
            penalty = sum(PER_COMPONENT_MS + PER_MB_MS * min(mb, sum(weights) - mb) for mb in weights)
            costs[step.gate.exit_index] = sum(macs[name] for name in ran) + (penalty if len(ran) > 1 else 0.0)
    return costs


@settings(max_examples=150)
@given(cascades(), st.data())
def test_leaving_random_cascade_equals_simulation_of_the_execution_plan(
    cascade: tuple[list[Component], list[Exit]], data: st.DataObject
) -> None:
    components, exits = cascade
    manifest = replace(TEMPLATE[0], components=tuple(components), exits=tuple(exits))
    weights_mb = {c.name: data.draw(st.floats(0, 50)) for c in components}
    layout = layout_of_manifest(manifest)
    penalty = layout.cache_penalty(weights_mb, PER_COMPONENT_MS, PER_MB_MS)
    costs = replace(layout.arrange({c.name: float(c.macs) for c in components}), cache=penalty)
    for gates in product((None, 0.5), repeat=manifest.n_early_exits):
        charged = costs.leaving(gates)
        expected = simulated(manifest, gates, weights_mb)
        assert {i: charged[i] for i in expected} == pytest.approx(expected, rel=1e-9)
        assert (np.diff(charged) >= 0).all()


def test_cache_penalty_zero_coefficients_is_left_out(tmp_path: Path) -> None:
    layout = layout_of_manifest(open_bundle(write_tiny_bundle(tmp_path)).manifest)
    assert layout.cache_penalty({}, 0.0, 0.0) is None
