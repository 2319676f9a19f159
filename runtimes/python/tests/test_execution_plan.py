"""Execution plans: exits that cannot fire are skipped, and higher thresholds never leave earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool_runtime import open_bundle
from eetool_runtime.errors import UsageError
from eetool_runtime.execution_plan import plan_steps, unsplit_macs
from eetool_runtime.manifest import NEVER, Manifest
from tests.helpers.tiny_bundle import write_tiny_bundle

thresholds = st.none() | st.floats(0, 2)


def manifest(folder: Path, **tweaks: Any) -> Manifest:
    return open_bundle(write_tiny_bundle(folder, **tweaks)).manifest


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return manifest(tmp_path_factory.mktemp("deep"), early_exits=4)


def names(m: Manifest, *given: Optional[float]) -> str:
    return " ".join(step.component for step in plan_steps(m, given))


def test_plan_steps_threshold_none_skips_exit(tmp_path: Path) -> None:
    m = manifest(tmp_path)
    assert names(m, 0.5, 0.5) == "seg0 exit0 seg1 exit1 exit2"
    assert names(m, None, 0.5) == "seg0 seg1 exit1 exit2"
    assert names(m, 0.5, None) == "seg0 exit0 seg1 exit2"
    assert names(m, None, None) == "seg0 seg1 exit2"


def test_plan_steps_threshold_above_one_runs_exit(tmp_path: Path) -> None:
    assert names(manifest(tmp_path), 2.0, 1.5) == "seg0 exit0 seg1 exit1 exit2"


def test_plan_steps_exit_read_by_others_is_kept(tmp_path: Path) -> None:
    m = manifest(tmp_path, chained=True)
    assert names(m, None, None) == "seg0 exit0 seg1 exit1 exit2"
    steps = plan_steps(m, (None, 0.5))
    assert [s.component for s in steps if s.gate] == ["exit1", "exit2"]


def test_plan_steps_joined_exit_is_kept(tmp_path: Path) -> None:
    m = manifest(tmp_path, joined=True)
    assert names(m, None, None) == "joined0 joined1 exit2"
    assert [s.gate is not None for s in plan_steps(m, (None, None))] == [False, False, True]


def test_plan_steps_after_final_exit_nothing_runs(tmp_path: Path) -> None:
    assert names(manifest(tmp_path, early_exits=0)) == "exit0"


def test_plan_steps_macs_are_cumulative(tmp_path: Path) -> None:
    m = manifest(tmp_path)
    assert [s.macs for s in plan_steps(m, (0.5, 0.5))] == [144, 160, 304, 320, 336]
    assert [s.macs for s in plan_steps(m, (None, 0.5))] == [144, 288, 304, 320]


def test_plan_steps_gate_has_threshold_and_tensors(tmp_path: Path) -> None:
    gate = plan_steps(manifest(tmp_path), (0.25, None))[1].gate
    assert gate is not None
    assert (gate.exit_index, gate.threshold) == (0, 0.25)
    assert (gate.logits, gate.confidence) == ("exit0_logits", "exit0_confidence")


@pytest.mark.parametrize("bad", [-0.1, 2.1, float("nan"), float("inf"), "0.5", [0.5], np.array([0.5])])
def test_plan_steps_threshold_out_of_range_raises_usage_error(deep: Manifest, bad: Any) -> None:
    with pytest.raises(UsageError, match="is out of range"):
        plan_steps(deep, (0.5, bad, 0.5, 0.5))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_plan_steps_wrong_number_of_thresholds_raises_usage_error(deep: Manifest, count: int) -> None:
    with pytest.raises(UsageError, match=f"^{count} thresholds given; the model has 4 early exits$"):
        plan_steps(deep, (0.5,) * count)


def test_plan_steps_numpy_thresholds_become_floats(deep: Manifest) -> None:
    gates = [s.gate for s in plan_steps(deep, (np.float32(0.5), 0, 1, None)) if s.gate]
    assert [g.threshold for g in gates] == [0.5, 0.0, 1.0, 0.0]
    assert all(type(g.threshold) is float for g in gates)


def test_unsplit_macs_unrecorded_is_full_depth_without_gates(tmp_path: Path) -> None:
    assert unsplit_macs(manifest(tmp_path / "1")) == 304
    assert unsplit_macs(manifest(tmp_path / "2", joined=True)) == 336
    assert unsplit_macs(manifest(tmp_path / "3", joined=True, unsplit_macs=304)) == 304


def leaves_at(m: Manifest, given: tuple[Optional[float], ...], confidences: list[float]) -> tuple[int, int]:
    """Return exit and MACs of an input with these confidences, from the plan alone."""
    for step in plan_steps(m, given):
        gate = step.gate
        if gate and (gate.exit_index == m.n_early_exits or confidences[gate.exit_index] >= gate.threshold):
            return gate.exit_index, step.macs
    raise AssertionError("no gate fired")


@settings(deadline=None)
@given(
    st.lists(thresholds, min_size=4, max_size=4).map(tuple),
    st.lists(st.none() | st.floats(0, 1), min_size=4, max_size=4),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_plan_steps_higher_thresholds_never_leave_earlier(
    deep: Manifest, low: tuple[Optional[float], ...], raises: list[Optional[float]], confidences: list[float]
) -> None:
    high = tuple(None if t is None or r is None else min(t + r, 2.0) for t, r in zip(low, raises))
    assert leaves_at(deep, low, confidences)[0] <= leaves_at(deep, high, confidences)[0]


@settings(deadline=None)
@given(st.lists(thresholds, min_size=4, max_size=4).map(tuple), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_plan_steps_any_thresholds_end_within_total_macs(
    deep: Manifest, given_thresholds: tuple[Optional[float], ...], confidences: list[float]
) -> None:
    index, macs = leaves_at(deep, given_thresholds, confidences)
    assert 0 <= index <= 4
    everything = plan_steps(deep, (NEVER,) * 4)
    assert macs <= next(step.macs for step in everything if step.gate and step.gate.exit_index == index)
