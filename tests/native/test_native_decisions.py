"""Decisions of the native runtime: those of the Python runtime, bit by bit, on the same engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library, NativeModel
from tests.helpers.tiny_bundle import IMAGES, X, pixels, write_tiny_bundle
from tests.platforms.decisions import digits, spread_thresholds

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "joined": {"joined": True},
    "chained": {"chained": True, "early_exits": 3},
    "static": {"early_exits": 0},
    "ids": {"ids": True},
}


def both(path: Path, native: Library, **options: Any) -> tuple[ee.Model, NativeModel]:
    return ee.load(path, threads=1, **options), native.load(path, threads=1, engine=onnxruntime_library(), **options)


def feed(form: str, row: int) -> dict[str, np.ndarray]:
    ids = {"ids": np.full((1, 1 + row % 3), 1, np.int64)} if form == "ids" else {}
    return {"input": X[row : row + 1], **ids}


def assert_same(mine: Any, theirs: Any) -> None:
    for name in ("exit", "index", "label", "confidence", "gated"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.logits.tobytes() == theirs.logits.tobytes()


def without_latencies(figures: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in figures.items() if not name.startswith("latency_ms")}
    points = figures.get("operating_points", {})
    return {**kept, "operating_points": {name: without_latencies(point) for name, point in points.items()}}


@pytest.mark.parametrize("form", list(FORMS))
def test_run_every_setting_equals_python(tmp_path: Path, native: Library, form: str) -> None:
    python, model = both(write_tiny_bundle(tmp_path, **FORMS[form]), native)
    early = len(python.thresholds)
    settings: list[dict[str, Any]] = [{"operating_point": point} for point in ("balanced", "fast", "full")]
    settings += [{"threshold": (t,) * early, "watch": (0.4, 0.7)} for t in (None, 0.0, 0.6, 2.0)] if early else []
    for setting in settings:
        python.use(**setting)
        model.use(**setting)
        for row in range(len(X)):
            given = feed(form, row)
            for min_exit in (0, early, -1):
                assert_same(model(given, min_exit=min_exit), python(given, min_exit=min_exit))
    assert model.stats()["calls"] == len(X) * 3
    np.testing.assert_equal(without_latencies(model.stats()), without_latencies(python.stats()))


def test_run_thousand_digits_equal_python(bundle: Path, tmp_path: Path, native: Library) -> None:
    inputs = digits(bundle, 1000)
    np.savez(tmp_path / "inputs.npz", **{name: array[:200] for name, array in inputs.items()})  # type: ignore[arg-type]
    thresholds = spread_thresholds(bundle, tmp_path / "inputs.npz")
    for variant, policy in thresholds.items():
        python, model = both(bundle, native, variant=variant)
        python.use(threshold=tuple(policy))
        model.use(threshold=policy)
        (array,) = inputs.values()
        for i in range(len(array)):
            assert_same(model(array[i : i + 1]), python(array[i : i + 1]))
        counts = python.stats()["exit_counts"]
        assert min(counts) > 0  # inputs leave at every exit
        assert model.stats()["exit_counts"] == counts


def test_pixels_are_preprocessed_as_in_python(tmp_path: Path, native: Library) -> None:
    python, model = both(write_tiny_bundle(tmp_path), native)
    for image in IMAGES:
        raw = pixels(*image)
        model.set_pixels(None, raw)
        assert_same(model.run(), python(python.preprocess(raw)))


def test_deadline_without_time_gives_first_exit_ungated(tmp_path: Path, native: Library) -> None:
    _, model = both(write_tiny_bundle(tmp_path), native)
    model.use(threshold=2.0)
    result = model(X[:1], deadline_ms=1e-6)
    assert (result.exit, result.gated, result.late) == (0, False, True)
    result = model(X[:1], deadline_ms=1e6)
    assert (result.exit, result.gated, result.late) == (2, True, False)
    assert (model.stats()["ungated"], model.stats()["overruns"]) == (1, 1)


def test_use_running_sessions_follow(tmp_path: Path, native: Library) -> None:
    _, model = both(write_tiny_bundle(tmp_path), native)
    model.set_input(None, X[-1:])
    exits = []
    for point in ("full", "fast", "full"):
        model.use(point)
        exits.append(model.run().exit)
    assert exits == [2, 1, 2]
    assert model.info["operating_point"] == "full"


def test_lazy_loading_opens_a_graph_when_needed(tmp_path: Path, native: Library) -> None:
    path = write_tiny_bundle(tmp_path)
    model = native.load(path, engine=onnxruntime_library(), preload=False)
    assert model.info["not_loaded"] == ["seg1", "exit1", "exit2"]
    model.use(threshold=0.0)
    assert model(X[:1]).exit == 0
    assert model.info["not_loaded"] == ["seg1", "exit1", "exit2"]
    (path / "components/seg1/onnx-fp32/model.onnx").write_bytes(b"changed")
    with pytest.raises(ee.EarlyExitError, match=r"seg1/onnx-fp32/model\.onnx: 7 bytes where the manifest says"):
        model(X[:1], min_exit=-1)
    assert model(X[:1]).exit == 0


def test_prometheus_text_equals_python(tmp_path: Path, native: Library) -> None:
    python, model = both(write_tiny_bundle(tmp_path), native)
    for runtime in (python, model):
        for _ in range(3):  # 48 inputs, enough for a test of the drift
            for row in range(len(X)):
                runtime(X[row : row + 1])
        runtime.use("fast")
        runtime.use(threshold=0.5)
    assert model.stats()["operating_points"]["balanced"]["drift"][0] is not None

    def lines(text: str) -> dict[str, float | None]:
        samples = [line.rpartition(" ") for line in text.splitlines()]
        return {key: None if key[0] == "#" or "latency" in key else round(float(v), 9) for key, _, v in samples}

    assert lines(model.prometheus()) == lines(python.prometheus())
