"""Loading: choice of variant and threads, and graphs that differ from the manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime import loading
from eetool_runtime.backends import Backend, Threads, backend_for
from eetool_runtime.errors import BackendError, BundleError, UsageError
from eetool_runtime.machine import board_name, cpu_name, usable_cores
from tests.helpers.tiny_bundle import VARIANT, image, write_bundle_with_other_format, write_tiny_bundle

SEGMENT = ["variants", VARIANT, "components", "seg0", "path"]


def test_load_path_string_or_bundle_succeeds(tiny_bundle: Path) -> None:
    for source in (tiny_bundle, str(tiny_bundle), ee.open_bundle(tiny_bundle)):
        assert ee.load(source)(image(0, 2.0)).exit == 0


def test_open_graphs_small_component_gets_one_thread(tiny_bundle: Path) -> None:
    bundle = ee.open_bundle(tiny_bundle)

    def threads(exit_macs: int) -> list[int]:
        parts = [replace(c, macs=exit_macs if "exit" in c.name else 10**6) for c in bundle.manifest.components]
        other = ee.Bundle(bundle.path, replace(bundle.manifest, components=tuple(parts)))
        graphs = loading.open_graphs(other, VARIANT, backend_for("onnx"), Threads(2))
        return [graph.threads.count for graph in graphs.values()]

    assert threads(exit_macs=1000) == [2, 1, 2, 1, 1]
    assert threads(exit_macs=10**6) == [2] * 5


@pytest.mark.parametrize("choice", [{"backend": "onnx"}, {"variant": VARIANT}, {"backend": "onnx", "variant": VARIANT}])
def test_load_named_variant_is_used(tiny_bundle: Path, choice: dict[str, str]) -> None:
    assert ee.load(tiny_bundle, **choice).variant == VARIANT  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"variant": "onnx/int8"}, "has no variant 'onnx/int8'"),
        ({"backend": "tflite"}, "has no variant for backend 'tflite'"),
        ({"backend": "tflite", "variant": VARIANT}, "the 'tflite' backend does not run the variant 'onnx/fp32'"),
        ({"pool": "public"}, "unknown pool 'public'"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"threads": -2}, "threads must be at least 1, not -2"),
    ],
)
def test_load_unavailable_variant_or_backend_raises_usage_error(
    tiny_bundle: Path, choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ee.load(tiny_bundle, **choice)


def test_load_auto_skips_formats_without_backend(tmp_path: Path) -> None:
    path = write_bundle_with_other_format(tmp_path, "later/fp8")
    assert ee.load(path).variant == VARIANT
    with pytest.raises(UsageError, match="no backend runs 'later' graphs"):
        ee.load(path, variant="later/fp8")


@pytest.mark.parametrize("last", [False, True])
def test_load_variant_for_microcontrollers_does_not_hide_what_another_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    def lacking(graph_format: str) -> Backend:
        raise (
            BackendError("the onnx backend needs onnxruntime")
            if graph_format == "onnx"
            else UsageError(f"no backend runs {graph_format!r} graphs")
        )

    monkeypatch.setattr(loading, "backend_for", lacking)
    with pytest.raises(BackendError, match="needs onnxruntime"):
        ee.load(write_bundle_with_other_format(tmp_path, "later/int8", last))


def test_load_larger_fixed_batch_raises_usage_error(tmp_path: Path) -> None:
    def fix(batch: int) -> Any:
        return lambda document: document["variants"][VARIANT].update(batch=batch)

    assert ee.load(write_tiny_bundle(tmp_path / "1", edit=fix(1))).variant == VARIANT
    with pytest.raises(UsageError, match="the variant onnx/fp32 has the batch size 4, not 1"):
        ee.load(write_tiny_bundle(tmp_path / "4", edit=fix(4)))


@pytest.mark.parametrize("threads", [1, 2])
def test_load_requested_threads_are_used(tiny_bundle: Path, threads: int) -> None:
    model = ee.load(tiny_bundle, threads=threads)
    assert model.stats()["threads"] == threads
    assert model(image(0, 2.0)).exit == 0


@pytest.mark.parametrize(
    ("here", "threads"),
    [
        ({"board": "Raspberry Pi 4 Model B Rev 1.4", "cpu": "Cortex-A72"}, 4),
        ({"cpu": "Some x86"}, 2),
        ({"board": "Another board", "cpu": "Some x86"}, 1),
        ({}, 1),
    ],
)
def test_recorded_threads_other_machine_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: dict[str, str], threads: int
) -> None:
    def record(document: dict[str, Any]) -> None:
        for name, title, count in (("rpi4", "Raspberry Pi 4 Model B Rev 1.4", 4), ("host", "Some x86", 2)):
            measured = {"threads": count, "component_latency_ms": {}}
            document["devices"][name] = {"machine": title, "variants": {VARIANT: measured}}

    monkeypatch.setattr(loading, "board_name", lambda: here.get("board"))
    monkeypatch.setattr(loading, "cpu_name", lambda: here.get("cpu"))
    monkeypatch.setattr(loading, "usable_cores", lambda: 8)
    bundle = ee.open_bundle(write_tiny_bundle(tmp_path, edit=record))
    assert loading.recorded_threads(bundle, VARIANT) == threads
    monkeypatch.setattr(loading, "usable_cores", lambda: 1)
    assert loading.recorded_threads(bundle, VARIANT) == 1


def test_load_recorded_threads_of_this_machine_are_used(tmp_path: Path) -> None:
    here = board_name() or cpu_name()
    if not here:
        pytest.skip("this machine has no name")

    def record(document: dict[str, Any]) -> None:
        measured = {"threads": 2, "component_latency_ms": {}}
        document["devices"]["host"] = {"machine": here, "variants": {VARIANT: measured}}

    path = write_tiny_bundle(tmp_path, edit=record)
    assert ee.load(path).stats()["threads"] == min(2, usable_cores())
    assert ee.load(path, threads=1).stats()["threads"] == 1


def swapped(path: str) -> Any:
    """Use the file of another component for seg0."""

    def edit(document: dict[str, Any]) -> None:
        document["variants"][VARIANT]["components"]["seg0"]["path"] = path

    return edit


def test_load_graph_with_other_tensors_raises_bundle_error(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path, edit=swapped("components/seg1/onnx-fp32/model.onnx"))
    with pytest.raises(BundleError, match=r"seg0: its graph has the inputs \['features0'\]; the manifest says \['inp"):
        ee.load(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"dtype": "float32", "shape": ["batch", 1, 4, 5]}, r"float32 \(batch, 1, 4, 4\) in the graph"),
        ({"dtype": "float32", "shape": ["batch", 4, 4]}, r"the manifest says float32 \(batch, 4, 4\)"),
        ({"dtype": "int8", "shape": ["batch", 1, 4, 4]}, r"the manifest says int8 \(batch, 1, 4, 4\)"),
    ],
    ids=["size", "rank", "dtype"],
)
@pytest.mark.parametrize("place", ["manifest", "variant"])
def test_load_graph_with_other_shapes_raises_bundle_error(
    tmp_path: Path, place: str, tensor: dict[str, Any], message: str
) -> None:
    def edit(document: dict[str, Any]) -> None:
        tensors = document["tensors"] if place == "manifest" else document["variants"][VARIANT]["tensors"]
        tensors["features0"] = tensor

    with pytest.raises(BundleError, match=f"^seg0: 'features0' is .*{message}"):
        ee.load(write_tiny_bundle(tmp_path, edit=edit))


def test_load_graph_with_other_dimension_names_succeeds(tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["tensors"]["features0"]["shape"] = ["batch", "channels", "rows", 4]

    assert ee.load(write_tiny_bundle(tmp_path, edit=edit))(image(0, 2.0)).exit == 0


def test_load_invalid_graph_names_file(tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["files"]["notes.onnx"] = {"sha256": EMPTY_SHA256, "size_bytes": 0}
        swapped("notes.onnx")(document)

    path = write_tiny_bundle(tmp_path, edit=edit)
    (path / "notes.onnx").touch()
    with pytest.raises(BackendError, match=r"notes\.onnx: cannot be read as an ONNX file"):
        ee.load(path)


EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_every_exit_fixed_batch_runs_one_by_one(tmp_path: Path) -> None:
    def fix(document: dict[str, Any]) -> None:
        document["variants"][VARIANT]["batch"] = 1

    inputs = np.concatenate([image(0, 0.2), image(2, 1.0), image(1, 3.0)])
    free = ee.load(write_tiny_bundle(tmp_path / "free")).every_exit(inputs)
    fixed = ee.load(write_tiny_bundle(tmp_path / "fixed", edit=fix)).every_exit(inputs)
    for (logits, confidence), (expected_logits, expected_confidence) in zip(fixed, free):
        np.testing.assert_array_equal(logits, expected_logits)
        np.testing.assert_array_equal(confidence, expected_confidence)
