"""Calls during `use` in another thread: results belong to one plan, and no count is lost."""

from __future__ import annotations

import json
import random
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.governor import Governor, Rule
from eetool_runtime.prometheus import prometheus_text
from eetool_runtime.stats import Stats
from tests.helpers.backend_contract import HAS_LITERT
from tests.helpers.tiny_bundle import image, write_tiny_bundle
from tests.helpers.tiny_litert_bundle import write_litert_bundle

THREADS, ROUNDS = 16, 150


@pytest.fixture
def model(tiny_bundle: Path) -> ee.Model:
    return ee.load(tiny_bundle)


def turn_within_stats(model: ee.Model, monkeypatch: pytest.MonkeyPatch, turn: Callable[[], None]) -> None:
    """Make the first snapshot call `use`, as another thread may at that moment."""
    snapshot, turns = Stats.snapshot, [turn]

    def turning(self: Stats, *arguments: Any) -> dict[str, Any]:
        if turns:
            turns.pop()()
        return snapshot(self, *arguments)

    monkeypatch.setattr(Stats, "snapshot", turning)


def test_stats_during_use_of_new_point_are_consistent(model: ee.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model(image(0, 2.0))
    turn_within_stats(model, monkeypatch, lambda: model.use("full"))
    actual = model.stats()
    assert (actual["operating_point"], actual["calls"]) == ("balanced", 1)
    assert model.operating_point == "full"
    assert model.stats()["calls"] == 0


def test_stats_during_use_of_other_thresholds_keep_own_figures(
    model: ee.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.use(threshold=0.6)
    model(image(0, 2.0))
    turn_within_stats(model, monkeypatch, lambda: model.use(threshold=0.7))
    actual = model.stats()
    assert (actual["operating_point"], actual["calls"]) == (None, 1)
    assert actual["operating_points"]["custom"]["calls"] == 1


def test_prometheus_during_use_labels_point_of_its_figures(model: ee.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    turn_within_stats(model, monkeypatch, lambda: model.use("full"))
    assert 'operating_point="balanced"} 1.0' in model.prometheus()


def test_batch_with_watchdog_during_use_keeps_its_plan(tiny_bundle: Path) -> None:
    loaded = ee.load(tiny_bundle)
    ticks = 0

    def clock() -> int:
        nonlocal ticks
        ticks += 1
        if ticks == 4:  # the second row is under way
            model.use("fast")
        return time.perf_counter_ns()

    model = ee.Model(loaded.bundle, loaded.variant, loaded._graphs, loaded.threads, clock=clock)
    model.use("full", watch=(0.0, 0.0))
    ticks = 0
    assert [result.exit for result in model.batch(np.concatenate([image(0, 2.0)] * 3))] == [2, 2, 2]
    assert (model.operating_point, model.stats()["operating_points"]["full"]["calls"]) == ("fast", 3)


def test_governor_during_use_keeps_watchdog_of_previous_point(model: ee.Model) -> None:
    def read() -> Optional[float]:
        model.use("fast", watch=(0.1, 0.2))  # another thread, after the governor looked where the model is
        return 100.0

    governor = Governor(model, [Rule("heat", read, 90, 80)], points=("full", "balanced", "fast"))
    model.use("full", watch=(0.5, 0.6))
    governor.update()
    assert (model.operating_point, model.watch) in (("balanced", (0.5, 0.6)), ("fast", (0.1, 0.2)))


def everything_at_once(model: ee.Model, x: dict[str, np.ndarray]) -> None:
    """Make every kind of call in random order in sixteen threads; no call fails, and each result is counted once."""
    answered, failed = [0] * THREADS, []
    points = list(model.operating_points)
    twice = {name: np.concatenate([array, array]) for name, array in x.items()}

    def read(text: str) -> int:
        assert text.startswith("# HELP")
        return 0

    def count(figures: dict[str, Any]) -> int:
        json.dumps(figures, allow_nan=False)
        assert figures["exit_counts"] == figures["operating_points"][figures["operating_point"]]["exit_counts"]
        return 0

    kinds: list[Callable[[random.Random], int]] = [
        lambda draw: model(x, min_exit=draw.choice((0, -1))).exit * 0 + 1,
        lambda draw: model(x, deadline_ms=draw.choice((0.01, 100))).exit * 0 + 1,
        lambda draw: len(model.batch(twice)),
        lambda draw: len(model.every_exit(twice)) * 0,
        lambda draw: model.use(draw.choice(points), watch=draw.choice((None, (0.4, 0.6)))) or 0,
        lambda draw: count(model.stats()),
        lambda draw: read(model.prometheus()),
        lambda draw: len(model.recent_ms()) * 0,
    ]

    def work(number: int) -> None:
        draw = random.Random(number)
        try:
            for _ in range(ROUNDS):
                answered[number] += draw.choice(kinds)(draw)
        except Exception as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
    assert min(answered) > 0
    assert sum(point["calls"] for point in model.stats()["operating_points"].values()) == sum(answered)


@pytest.mark.parametrize("ids", [False, True], ids=["bound", "loose"])
def test_onnx_sixteen_threads_succeed_and_count_exactly(tmp_path: Path, ids: bool) -> None:
    x = {"input": image(0, 1.0), **({"ids": np.ones((1, 2), np.int64)} if ids else {})}
    everything_at_once(ee.load(write_tiny_bundle(tmp_path, ids=ids)), x)


@pytest.mark.skipif(not HAS_LITERT, reason="LiteRT is not installed")
@pytest.mark.parametrize("shared", [False, True], ids=["file per component", "one file"])
def test_litert_sixteen_threads_succeed_and_count_exactly(tmp_path: Path, shared: bool) -> None:
    model = ee.load(write_litert_bundle(tmp_path, shared))
    samples = model.bundle.arrays(model.bundle.manifest.samples)
    everything_at_once(model, samples)


def test_stats_confidences_not_finite_are_valid_json() -> None:
    stats = Stats(2)
    for confidence in (float("nan"), 0.5, float("inf"), -float("inf")):
        stats.record(0, confidence, 1, 1.0, [(0, confidence)])
    stats.record(1, float("nan"), 1, 1.0)
    actual = stats.snapshot(10, None)
    json.dumps(actual, allow_nan=False)
    assert actual["mean_confidence"] == [0.5, None]
    assert actual["exit_counts"] == [4, 1]


def test_stats_after_overflow_are_valid_json_and_prometheus_has_no_nan(model: ee.Model) -> None:
    """The graphs of this bundle return NaN, because they divide before they subtract the maximum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no pixel has this value
        model(np.full((1, 1, 4, 4), 3e38, np.float32))
    actual = model.stats()
    json.dumps(actual, allow_nan=False)
    assert "nan" not in prometheus_text(actual).lower()
