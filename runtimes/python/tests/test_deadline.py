"""Deadlines, minimum exits and the watchdog, on a simulated clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime import loading
from eetool_runtime.deadline import LatencyEstimator
from eetool_runtime.errors import UsageError
from eetool_runtime.execution_plan import START
from eetool_runtime.testing import FakeClock, ScriptedAnswer, scripted
from tests.helpers.tiny_bundle import VARIANT, image, write_tiny_bundle

X = np.zeros((1, 3, 32, 32), np.float32)
TIMES = {"seg0": 2.0, "exit0": 1.0, "seg1": 4.0, "exit1": 1.0, "seg2": 4.0, "exit2": 1.0}  # gates at 3, 8 and 13 ms
HARD = ScriptedAnswer("cat", exit=2, confidence=0.9)


def model_of(*script: ScriptedAnswer, times: Optional[dict[str, float]] = None) -> ee.Model:
    return scripted(script or (HARD,), clock=FakeClock(), component_ms=times or TIMES)


def taught(*script: ScriptedAnswer) -> ee.Model:
    """Return a model with measured latencies of twenty calls under a long deadline."""
    model = model_of(*script)
    for _ in range(20):
        model(X, deadline_ms=1000)
    return model


@pytest.mark.parametrize(
    ("deadline_ms", "exit_index", "gated"),
    [(0.001, 0, False), (7.99, 0, False), (8, 1, False), (12.99, 1, False), (13, 2, True), (100, 2, True)],
)
def test_call_deadline_leaves_at_deepest_exit_in_time(deadline_ms: float, exit_index: int, gated: bool) -> None:
    result = taught()(X, deadline_ms=deadline_ms)
    assert (result.exit, result.gated) == (exit_index, gated)
    assert ("gated=False" in repr(result)) is not gated


def test_call_gate_fires_before_deadline_result_is_gated() -> None:
    model = taught(ScriptedAnswer("cat", exit=1))
    result = model(X, deadline_ms=9)
    assert (result.exit, result.gated, result.latency_ms) == (1, True, 8.0)


def test_call_deadline_runs_exits_that_cannot_fire() -> None:
    model = taught()
    model.use("full")
    assert (model(X, deadline_ms=9).exit, model(X, deadline_ms=9).latency_ms) == (1, 8.0)
    assert model(X).latency_ms == 2 + 4 + 4 + 1


def test_stats_deadlines_count_ungated_and_overruns() -> None:
    model = taught()
    for deadline_ms in (1, 9, 9, 100):
        model(X, deadline_ms=deadline_ms)
    actual = model.stats()
    assert (actual["ungated"], actual["overruns"]) == (3, 1)  # the first exit takes 3 ms, whatever the deadline


def test_latency_estimator_slower_device_updates_at_once() -> None:
    times = dict(TIMES)
    clock = FakeClock()
    model = scripted([HARD], clock=clock, component_ms=times)
    for _ in range(20):
        model(X, deadline_ms=14)
    section = model._plan.sections(0, anytime=True)[2]
    for _ in range(10):
        model._latency.record(section, 20_000_000)
    assert model(X, deadline_ms=14).exit == 1


def test_latency_estimator_without_measurements_scales_by_macs() -> None:
    # After 3 ms for 1.01 million MACs, as many again are guessed at 4.5 ms.
    assert model_of()(X, deadline_ms=7).exit == 0
    assert model_of()(X, deadline_ms=8).exit == 1


def test_latency_estimator_uses_recorded_latencies_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"seg0": 1.0, "exit0": 1.0, "seg1": 1e6, "exit1": 1.0, "exit2": 1.0}

    def record(document: dict[str, Any]) -> None:
        measured = {"threads": 1, "component_latency_ms": times}
        document["devices"]["host"] = {"machine": "Some board", "variants": {VARIANT: measured}}

    monkeypatch.setattr(loading, "board_name", lambda: "Some board")
    model = ee.load(write_tiny_bundle(tmp_path, edit=record))
    assert model(image(0, 0.25)).exit == 2
    assert model(image(0, 0.25), deadline_ms=10_000).exit == 0


def test_latency_estimator_late_section_is_tried_again() -> None:
    model = model_of()
    estimator, section = LatencyEstimator({}), model._plan.sections(0, anytime=True)[1]
    for _ in range(10):
        estimator.record(section, 9_000_000)
    refused = 0
    while not estimator.fits(section, 5_000_000, 0, 0):
        refused += 1
    assert 100 < refused < 1000


def test_latency_estimator_fits_uses_high_quantile() -> None:
    estimator, section = LatencyEstimator({}), model_of()._plan.sections(0, anytime=True)[1]
    for took in [1_000_000] * 90 + [5_000_000] * 10:
        estimator.record(section, took)
    assert not estimator.fits(section, 4_999_999, 0, 0)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
def test_call_impossible_deadline_raises_usage_error(bad: float) -> None:
    with pytest.raises(UsageError, match="deadline_ms must be a positive number"):
        model_of()(X, deadline_ms=bad)


def test_call_min_exit_skips_earlier_gates_and_exits() -> None:
    model = model_of(ScriptedAnswer("cat", exit=0))
    assert [model(X, min_exit=k).exit for k in (0, 1, 2, -1, -2)] == [0, 1, 2, 2, 1]
    assert model(X, min_exit=-1).latency_ms == 2 + 4 + 4 + 1
    assert model(X, min_exit=1, deadline_ms=5).exit == 1  # the deadline does not go before the least exit


@pytest.mark.parametrize("bad", [3, -4])
def test_call_unknown_min_exit_raises_usage_error(bad: int) -> None:
    with pytest.raises(UsageError, match=f"min_exit is {bad}; this model has the exits 0 to 2"):
        model_of()(X, min_exit=bad)


@pytest.mark.parametrize(
    ("confidence", "exit_index", "latency_ms"),
    [(0.81, 2, 2 + 1 + 4 + 4 + 1), (0.85, 2, 12), (0.9, 2, 12), (0.91, 0, 3), (0.79, 2, 13)],
)
def test_call_watchdog_confidence_in_band_continues_to_full_depth(
    confidence: float, exit_index: int, latency_ms: float
) -> None:
    model = model_of(ScriptedAnswer("cat", exit=0, confidence=confidence))
    model.use("balanced", watch=(0.805, 0.905))
    result = model(X)
    assert (result.exit, result.latency_ms, result.gated) == (exit_index, latency_ms, True)
    assert model.stats()["mean_macs"] in (1_010_000, 3_020_000, 3_030_000)


def test_call_watchdog_beyond_deadline_result_is_not_gated() -> None:
    model = taught(ScriptedAnswer("cat", exit=0, confidence=0.85))
    model.use("balanced", watch=(0.8, 0.9))
    for _ in range(10):
        model(X, deadline_ms=1000)
    result = model(X, deadline_ms=9)
    assert (result.exit, result.gated) == (1, False)


@pytest.mark.parametrize("bad", [(0.9, 0.8), (0.5,), (-0.1, 0.5), (0.5, 1.1), "ab", 0.5, (float("nan"), 1)])
def test_use_invalid_band_raises_usage_error(bad: Any) -> None:
    model = model_of()
    with pytest.raises(UsageError, match="watch is"):
        model.use("fast", watch=bad)
    assert model.operating_point == "balanced"


def test_stats_confidences_after_skipped_gate_are_not_recorded() -> None:
    model = model_of(ScriptedAnswer("cat", exit=0))
    model(X, min_exit=1)
    model.use("balanced", watch=(0.9, 1.0))
    model(X)
    assert [call[4] for call in model._plan.stats._new] == [[], [(0, 0.949999988079071)]]


@pytest.mark.parametrize("tweaks", [{"joined": True}, {"chained": True}, {}], ids=str)
def test_call_deadline_and_watchdog_any_wiring_reach_full_depth(tmp_path: Path, tweaks: dict[str, Any]) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, **tweaks))
    x = image(1, 0.5)
    deep = model(x, min_exit=-1)
    model.use("full", watch=(0, 1))
    np.testing.assert_array_equal(model(x).logits, deep.logits)
    model.use("fast", watch=(0, 1))
    np.testing.assert_array_equal(model(x).logits, deep.logits)
    assert model(x, deadline_ms=60_000).exit in (0, 1, 2)
    parts = model._plan.sections(0, anytime=True)
    assert [s.after for s in parts] == [START, 0, 1]
