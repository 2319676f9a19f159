"""Statistics of a model: counts, latencies, shares and the drift test."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eetool_runtime as ee
from eetool_runtime.manifest import Expected, ReachedConfidence
from eetool_runtime.stats import Stats, confidence_drift
from tests.helpers.tiny_bundle import image

EXPECTED = Expected("test", 10, 0.9, (0.5, 0.3, 0.2), 0.7, 100.0, (None, None, None))


def test_snapshot_before_first_call_is_empty() -> None:
    assert Stats(3).snapshot(100, EXPECTED) == {
        "calls": 0,
        "exit_counts": [0, 0, 0],
        "exit_shares": None,
        "exit_shares_expected": [0.5, 0.3, 0.2],
        "mean_exit_depth": None,
        "mean_confidence": [None, None, None],
        "mean_macs": None,
        "compute_saved": None,
        "latency_ms": None,
        "latency_ms_sum": 0.0,
        "ungated": 0,
        "overruns": 0,
        "drift": [None, None, None],
    }


def test_snapshot_few_calls_has_exact_figures() -> None:
    stats = Stats(3)
    for index, confidence, macs, latency_ms in [(0, 0.8, 20, 1.0), (0, 1.0, 20, 2.0), (2, 0.5, 120, 9.0)]:
        stats.record(index, confidence, macs, latency_ms)
    actual = stats.snapshot(100, None)
    assert actual["calls"] == 3
    assert actual["exit_counts"] == [2, 0, 1]
    assert actual["exit_shares"] == pytest.approx([2 / 3, 0, 1 / 3])
    assert actual["exit_shares_expected"] is None
    assert actual["mean_exit_depth"] == pytest.approx(2 / 3)
    assert actual["mean_confidence"] == pytest.approx([0.9, None, 0.5])
    assert actual["mean_macs"] == pytest.approx(160 / 3)
    assert actual["compute_saved"] == pytest.approx(1 - 160 / 300)
    assert actual["latency_ms"]["p50"] == 2.0
    assert actual["latency_ms"]["mean"] == pytest.approx(4.0)


def test_snapshot_backbone_without_macs_has_no_compute_saved() -> None:
    stats = Stats(1)
    stats.record(0, 1.0, 0, 1.0)
    assert stats.snapshot(0, None)["compute_saved"] is None


def test_snapshot_latency_covers_recent_calls() -> None:
    stats = Stats(1)
    for latency_ms in [1000.0] * 5 + [1.0] * 10_000:
        stats.record(0, 1.0, 1, latency_ms)
    assert stats.snapshot(1, None)["latency_ms"] == {"mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": 1.0}
    assert stats.snapshot(1, None)["calls"] == 10_005


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_snapshot_shares_sum_to_one_and_depth_is_in_range(exits: list[int]) -> None:
    stats = Stats(4)
    for index in exits:
        stats.record(index, 0.5, index + 1, 1.0)
    actual = stats.snapshot(4, None)
    assert sum(actual["exit_shares"]) == pytest.approx(1)
    assert min(exits) <= actual["mean_exit_depth"] <= max(exits)
    assert actual["mean_exit_depth"] == pytest.approx(sum(exits) / len(exits))
    assert actual["compute_saved"] == pytest.approx(1 - (actual["mean_exit_depth"] + 1) / 4)


def test_record_many_threads_counts_all() -> None:
    stats = Stats(2)

    def work(index: int) -> None:
        for _ in range(2_000):
            stats.record(index % 2, 0.5, 1, 1.0)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert stats.snapshot(1, None)["exit_counts"] == [8_000, 8_000]


REACHED = (ReachedConfidence(5000, 0.8, 0.1), None, ReachedConfidence(400, 0.6, 0.2))


def seen_by(rng: np.random.Generator, mean: float, n: int) -> list[list[tuple[int, float]]]:
    return [[(0, float(value)), (2, 0.6)] for value in rng.normal(mean, 0.1, n)]


def test_confidence_drift_equals_welch_test() -> None:
    actual = confidence_drift(seen_by(np.random.default_rng(1), 0.76, 200), REACHED)
    assert actual[1] is None
    first = actual[0]
    assert first is not None
    values = np.random.default_rng(1).normal(0.76, 0.1, 200)
    wanted = (values.mean() - 0.8) / math.sqrt(values.var(ddof=1) / 200 + 0.01 / 5000)
    assert first["z"] == pytest.approx(wanted)
    assert first["p"] == pytest.approx(math.erfc(abs(wanted) / math.sqrt(2)))
    assert (first["n"], first["expected_mean"]) == (200, 0.8)
    assert first["p"] < 1e-5
    assert actual[2] is not None
    assert (actual[2]["z"], actual[2]["p"]) == pytest.approx((0, 1))


def test_confidence_drift_without_drift_p_is_uniform() -> None:
    rng = np.random.default_rng(0)
    ps = [confidence_drift(seen_by(rng, 0.8, 100), REACHED)[0]["p"] for _ in range(400)]  # type: ignore[index]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.09
    assert 0.4 < np.mean(ps) < 0.6


def test_confidence_drift_few_or_equal_values_returns_none() -> None:
    assert confidence_drift([[(0, 0.1 * (n % 2))] for n in range(29)], REACHED)[0] is None
    assert confidence_drift([[(0, 0.1 * (n % 2))] for n in range(30)], REACHED)[0] is not None
    assert confidence_drift([[(0, 0.5)]] * 100, (ReachedConfidence(10, 0.5, 0.0),)) == [None]
    assert confidence_drift([[(0, math.nan)]] * 100, REACHED)[0] is None


def test_start_window_keeps_counts_only() -> None:
    stats = Stats(1)
    for _ in range(40):
        stats.record(0, 0.5, 1, 2.0, [(0, 0.5)])
    stats.start_window()
    actual = stats.snapshot(1, None)
    assert (actual["calls"], actual["latency_ms"], actual["mean_confidence"]) == (40, None, [None])
    assert actual["latency_ms_sum"] == 80
    assert stats.recent_ms(10) == []


@pytest.fixture
def model(tiny_bundle: Path) -> ee.Model:
    model = ee.load(tiny_bundle)
    for n in range(40):
        model(image(n % 4, (2.0, 1.0)[n % 2]))
    model.use("fast")
    model(image(0, 2.0))
    return model


def test_stats_points_are_separate_and_custom_thresholds_start_at_zero(model: ee.Model) -> None:
    actual = model.stats()
    assert (actual["operating_point"], actual["calls"]) == ("fast", 1)
    assert actual["operating_points"]["balanced"]["calls"] == 40
    model.use("balanced")
    model(image(0, 2.0))
    back = model.stats()
    assert (back["calls"], back["latency_ms_sum"] > 0) == (41, True)
    assert len(model.recent_ms()) == 1
    for threshold in (0.5, 0.5, 0.7):
        model.use(threshold=threshold)
        model(image(0, 2.0))
    assert model.stats()["calls"] == 1
    assert set(model.stats()["operating_points"]) == {"balanced", "fast", "custom"}
