"""Batches give the results of single calls, and inputs that left are not computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import InputError
from tests.helpers.recording_graphs import load_recording
from tests.helpers.tiny_bundle import IMAGES, VARIANT, X, image, write_tiny_bundle


def same(a: ee.Result, b: ee.Result) -> None:
    assert (a.exit, a.label, a.gated) == (b.exit, b.label, b.gated)
    assert a.confidence == pytest.approx(b.confidence, abs=1e-6)
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-6)


@pytest.mark.parametrize("threshold", [None, 0.6, 0.8, 2.0])
@pytest.mark.parametrize("tweaks", [{}, {"joined": True}, {"chained": True}, {"early_exits": 4}], ids=str)
def test_batch_any_wiring_equals_single_calls(
    tmp_path: Path, tweaks: dict[str, Any], threshold: Optional[float]
) -> None:
    alone, together = (ee.load(write_tiny_bundle(tmp_path / n, **tweaks)) for n in "ab")
    thresholds = (threshold,) * tweaks.get("early_exits", 2)
    for model in (alone, together):
        model.use(threshold=thresholds)
    results = together.batch(X)
    assert len(results) == len(X)
    for n, result in enumerate(results):
        same(result, alone(X[n : n + 1]))
    here, there = together.stats(), alone.stats()
    for figure in ("exit_counts", "mean_macs"):
        assert here[figure] == there[figure]
    assert here["mean_confidence"] == pytest.approx(there["mean_confidence"], abs=1e-6, nan_ok=True)


def test_batch_inputs_that_left_are_not_computed(tiny_bundle: Path) -> None:
    model, log = load_recording(tiny_bundle)
    sizes: list[int] = []
    for graph in model._graphs.values():
        run = graph.run

        def counting(feed: Any, run: Any = run) -> Any:
            sizes.append(max(len(array) for array in feed.values() if array.ndim))
            return run(feed)

        graph.run = counting  # type: ignore[method-assign]
    model.use(threshold=0.8)
    results = model.batch(X)
    left = [sum(r.exit == k for r in results) for k in range(3)]
    n = len(IMAGES)
    assert min(left) > 0
    assert sizes == [n, n, n - left[0], n - left[0], n - left[0] - left[1]]
    assert " ".join(log) == "seg0 exit0 seg1 exit1 exit2"
    log.clear()
    model.batch(np.concatenate([image(0, 2.0)] * 3))
    assert " ".join(log) == "seg0 exit0"


def test_batch_variant_of_fixed_batch_runs_one_by_one(tmp_path: Path) -> None:
    def fix(document: dict[str, Any]) -> None:
        document["variants"][VARIANT]["batch"] = 1

    path = write_tiny_bundle(tmp_path, edit=fix)
    model, log = load_recording(path)
    results = model.batch(X[:3])
    assert log.count("seg0") == 3
    for n, result in enumerate(results):
        same(result, ee.load(path)(X[n : n + 1]))


def test_batch_with_watchdog_runs_one_by_one(tiny_bundle: Path) -> None:
    model = ee.load(tiny_bundle)
    model.use("fast", watch=(0.0, 1.0))
    assert {result.exit for result in model.batch(X)} == {2}


def test_batch_several_inputs_are_compacted_together(tmp_path: Path) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, ids=True))
    ids = np.tile(np.array([[1, 2, 1]]), (len(X), 1))
    ids[::3] = 4
    results = model.batch({"input": X, "ids": ids})
    for n, result in enumerate(results):
        same(result, model({"input": X[n : n + 1], "ids": ids[n : n + 1]}))


def test_batch_with_bad_row_raises_input_error(tiny_bundle: Path) -> None:
    model = ee.load(tiny_bundle)
    spoilt = X.copy()
    spoilt[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="holds NaN"):
        model.batch(spoilt)
    with pytest.raises(InputError, match="expected shape"):
        model.batch(X[:0])
