"""Description of a native model, and inputs of texts: as in Python."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.default_point import default_point_warning
from eetool_runtime.errors import BackendError, BundleError, InputError, UsageError
from eetool_runtime.machine import board_name, cpu_name
from tests.helpers.int8_cascade import write_int8_cascade
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library, NativeModel
from tests.helpers.tflm_bundle import write_tflm_bundle
from tests.helpers.tiny_bundle import VARIANT, X, write_bundle_with_other_format, write_tiny_bundle


def load(native: Library, path: Path, **options: Any) -> NativeModel:
    return native.load(path, engine=onnxruntime_library(), **options)


def with_words(segmentation: str) -> Any:
    def edit(document: dict[str, Any]) -> None:
        rule = {"vocabulary": ["fine", "film"], "segmentation": segmentation}
        document["inputs"][1].update(shape=["batch", 3], text=rule)

    return edit


@pytest.mark.parametrize("segmentation", ["runs", "unicode-17"])
def test_ids_of_words_give_the_answers_of_python(tmp_path: Path, native: Library, segmentation: str) -> None:
    path = write_tiny_bundle(tmp_path, ids=True, edit=with_words(segmentation))
    python, model = ee.load(path), load(native, path)
    assert [i["segmentation"] for i in model.info["inputs"]] == [None, segmentation]
    given = {"input": X[:1], "ids": python.preprocess({"input": X[:1], "ids": "A fine film"})["ids"]}
    assert model(given).logits.tobytes() == python(given).logits.tobytes()
    for refused in (
        lambda: model.set_input("ids", np.frombuffer(b"A fine film", np.uint8)),
        lambda: model.set_pixels("ids", np.zeros((4, 4), np.uint8)),
    ):
        with pytest.raises(InputError, match="input 'ids': ") as caught:
            refused()
        assert caught.value.hint == (
            "This input takes ids of words. This library does not split texts; the app gives ids."
        )


def test_segmentation_that_is_unknown_is_refused_by_both(tmp_path: Path, native: Library) -> None:
    path = write_tiny_bundle(tmp_path, ids=True, edit=with_words("syllables"))
    for read in (ee.load, native.load):
        with pytest.raises(BundleError, match=r"text\.segmentation: 'syllables' is none of runs, unicode-17"):
            read(path)


def test_variant_for_microcontrollers_is_skipped_and_is_refused_where_it_is_asked_for(
    tmp_path: Path, native: Library
) -> None:
    path = write_bundle_with_other_format(tmp_path, "tflm/int8")
    assert load(native, path).info["variant"] == VARIANT
    with pytest.raises(UsageError, match="no backend runs 'tflm' graphs"):
        load(native, path, variant="tflm/int8")
    with pytest.raises(UsageError, match="no backend runs 'tflm' graphs"):
        load(native, path, backend="tflm")


@pytest.mark.parametrize("write", [write_tflm_bundle, partial(write_int8_cascade, skips=True)], ids=["int8", "skips"])
def test_bundle_for_microcontrollers_alone_is_read_and_then_refused(
    tmp_path: Path, native: Library, write: Callable[[Path], Path]
) -> None:
    pytest.importorskip("ai_edge_litert")  # with which the graphs are written
    path = write(tmp_path)
    for options in ({}, {"variant": "tflm/int8"}, {"backend": "tflm"}):
        with pytest.raises(UsageError, match="no backend runs 'tflm' graphs") as refused:  # not BundleError
            load(native, path, **options)
        assert refused.value.hint == "Known formats: onnx, tflite."
    with pytest.raises(UsageError, match="has no variant for backend 'onnx'") as refused:
        load(native, path, backend="onnx")
    assert refused.value.hint == "It has: tflm/int8."


def test_variant_for_microcontrollers_does_not_hide_what_another_lacks(tmp_path: Path, native: Library) -> None:
    for last in (False, True):
        path = write_bundle_with_other_format(tmp_path / str(last), "tflm/int8", last)
        with pytest.raises(BackendError, match=r"cannot be loaded: /no/lib\.so"):
            native.load(path, engine=Path("/no/lib.so"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["components"]["segment0"].update(path="samples/inputs.npz"), "is no tflm file"),
        (lambda v: v["tensors"].update(exit0_logits={"dtype": "int8", "shape": ["batch", 3]}), "between components"),
        (lambda v: v.update(batch=0), "batch: must be positive"),
        (lambda v: v["components"].pop("exit1"), "must name every component"),
    ],
    ids=["suffix", "logits", "batch", "component"],
)
def test_variant_for_microcontrollers_with_faults_is_refused_by_both(
    tmp_path: Path, native: Library, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = write_tflm_bundle(tmp_path)
    document = json.loads((path / "manifest.json").read_text())
    change(document["variants"]["tflm/int8"])
    (path / "manifest.json").write_text(json.dumps(document))
    for read in (ee.open_bundle, native.load):
        with pytest.raises(BundleError, match=message):
            read(path)


def test_memory_is_that_of_python(tmp_path: Path, native: Library) -> None:
    path = write_tiny_bundle(tmp_path)
    for preload in (True, False):
        expected, actual = ee.load(path, preload=preload).memory(), load(native, path, preload=preload).info
        assert actual["process_bytes"] > 10e6
        for name in ("not_loaded", "loaded_bytes", "total_bytes"):
            assert actual[name] == expected[name]


@pytest.mark.parametrize(("exit_ms", "default"), [(None, "full"), (None, "fast"), (0.0, "fast"), (10.0, "fast")])
def test_warning_of_the_default_point_is_that_of_python(
    tmp_path: Path, native: Library, exit_ms: float | None, default: str
) -> None:
    machine = board_name() or cpu_name()
    if not machine:
        pytest.skip("this machine has no name")

    def edit(document: dict[str, Any]) -> None:
        names = [component["name"] for component in document["components"]]
        document.update(default_operating_point=default, unsplit_macs=300)
        times = {name: exit_ms if "exit" in name else 1.23456 for name in names}
        measured = {"threads": 1, "component_latency_ms": times if exit_ms is not None else {}}
        document["devices"]["host"] = {"machine": machine, "variants": {VARIANT: measured}}

    path = write_tiny_bundle(tmp_path, edit=edit)
    manifest = ee.open_bundle(path).manifest
    times = manifest.devices["host"].variants[VARIANT].component_latency_ms
    expected = default_point_warning(manifest, VARIANT, times)
    assert (expected is None) == (default == "fast" and exit_ms != 10.0)
    assert load(native, path).info["warning"] == expected
