"""Components that are loaded on first use, and the memory of a model."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.backends import Threads
from eetool_runtime.errors import BundleError
from eetool_runtime.loading import LazyGraph
from eetool_runtime.machine import resident_bytes
from eetool_runtime.manifest import Tensor
from eetool_runtime.testing import FakeGraph
from tests.helpers.tiny_bundle import X, image, write_tiny_bundle


def test_lazy_model_deep_components_load_on_first_use(tiny_bundle: Path) -> None:
    eager, lazy = ee.load(tiny_bundle), ee.load(tiny_bundle, preload=False)
    assert lazy.memory()["loaded"] == ["seg0", "exit0"]
    assert lazy(image(0, 2.0)).exit == 0
    assert lazy.memory()["not_loaded"] == ["seg1", "exit1", "exit2"]
    assert lazy(image(0, 1.0)).exit == 1
    assert lazy.memory()["not_loaded"] == ["exit2"]
    for n in range(len(X)):
        np.testing.assert_array_equal(lazy(X[n : n + 1]).logits, eager(X[n : n + 1]).logits)
    actual = lazy.memory()
    assert actual["not_loaded"] == []
    assert actual["loaded_bytes"] == actual["total_bytes"] == eager.memory()["loaded_bytes"]


@pytest.mark.parametrize("tweaks", [{"joined": True}, {"chained": True}, {"early_exits": 0}, {"ids": True}], ids=str)
def test_lazy_model_any_wiring_equals_eager(tmp_path: Path, tweaks: dict[str, Any]) -> None:
    path = write_tiny_bundle(tmp_path, **tweaks)
    x: Any = {"input": image(1, 0.25), "ids": np.ones((1, 2), np.int64)} if "ids" in tweaks else image(1, 0.25)
    np.testing.assert_array_equal(ee.load(path, preload=False)(x).logits, ee.load(path)(x).logits)


@pytest.mark.parametrize("preload", [True, False])
def test_lazy_graph_bound_inputs_are_not_modified(tmp_path: Path, preload: bool) -> None:
    declared = Tensor("float32", (1, 3))
    graph = FakeGraph({"x": declared}, {"y": declared}, lambda tensors: {"y": tensors["x"] * 2})
    opening: Any = SimpleNamespace(load_late=lambda: graph)
    component: Any = SimpleNamespace(inputs=("x",), outputs=("y",))
    lazy = LazyGraph(component, {"x": declared, "y": declared}, Threads(), opening)
    if preload:
        lazy.run({"x": np.zeros((1, 3), np.float32)})
    own, y = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
    call, read = lazy.bind({"x": own}, {"y": y})
    asked = [np.full((1, 3), n, np.float32) for n in range(3)]
    for n, array in enumerate(asked):
        read("x", array)
        call()
        assert (y == 2 * n).all()
    assert [array[0, 0] for array in asked] == [0, 1, 2]


def test_lazy_graph_eight_threads_load_once(tiny_bundle: Path) -> None:
    lazy, exits = ee.load(tiny_bundle, preload=False), []
    workers = [threading.Thread(target=lambda: exits.append(lazy(image(0, 0.25)).exit)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert exits == [2] * 8


def test_lazy_graph_changed_file_raises_bundle_error(tiny_bundle: Path) -> None:
    lazy = ee.load(tiny_bundle, preload=False)
    deep = tiny_bundle / "components/exit2/onnx-fp32/model.onnx"
    deep.write_bytes(bytes(len(deep.read_bytes())))
    assert lazy(image(0, 2.0)).exit == 0
    with pytest.raises(BundleError, match="its SHA-256 is not the one in the manifest"):
        lazy(image(0, 0.25))


def test_memory_counts_loaded_files_and_process(tiny_bundle: Path) -> None:
    actual = ee.load(tiny_bundle, preload=False).memory()
    sizes = [p.stat().st_size for p in (tiny_bundle / "components").rglob("*.onnx")]
    assert actual["total_bytes"] == sum(sizes)
    assert 0 < actual["loaded_bytes"] < actual["total_bytes"]
    assert actual["process_bytes"] is None or actual["process_bytes"] > 10e6


def test_resident_bytes_counts_pages(tmp_path: Path) -> None:
    assert resident_bytes(tmp_path) is None
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/statm").write_text("9000 1200 700 1 0 500 0\n")
    assert resident_bytes(tmp_path) in (1200 * 4096, 1200 * 16384, 1200 * 65536)
