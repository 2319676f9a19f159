"""Hostile descriptions of what a server computes: both runtimes refuse them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eetool_runtime as ee
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import VARIANT, image, with_offload, write_manifest, write_tiny_bundle

Refusal = Callable[[Path], str]
SENT = ("offload", "inputs", 0)
POLICY = ("offload", "variants", VARIANT)
POINT = (*POLICY, "operating_points", "balanced")
FEATURES = {"tensor": "features0", "name": "features0", "dtype": "FP32", "scale": None, "zero_point": None}
LAST = {"exit": 2, "logits": "exit2_logits", "confidence": "exit2_confidence"}

# The place, the new value and the expected message.
ROWS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "in version 1.0": (("schema_version",), "1.0", r"offload\.version 1\.0 has no such field"),
    "a list": (("offload",), [], "offload: expected an object"),
    "unknown field": ((*POLICY, "colour"), "red", r"colour: unknown field"),
    "an address": (("offload", "url"), "grpc://evil:1", r"offload\.url: unknown field"),
    "after the final exit": (("offload", "after_exit"), 2, r"after_exit: must be an early exit"),
    "after an exit of the end": (("offload", "after_exit"), -1, r"after_exit: must be an early exit"),
    "after half an exit": (("offload", "after_exit"), 0.5, "after_exit: expected an integer"),
    "after another exit": (("offload", "after_exit"), 1, r"outputs: one per exit behind after_exit"),
    "model without a hash": (("offload", "model"), "tiny", r"model: must be a name"),
    "model of capital digits": (("offload", "model"), "tiny-0123ABCD", r"model: must be a name"),
    "model of another folder": (("offload", "model"), "../tiny-0123abcd", r"model: must be a name"),
    "model with a query": (("offload", "model"), "tiny?x-0123abcd", r"model: must be a name"),
    "model with a new line": (("offload", "model"), "tiny-0123abcd\n", r"model: must be a name"),
    "model of 129 characters": (("offload", "model"), "x" * 120 + "-0123abcd", r"model: must be a name"),
    "unknown wire": (("offload", "wire"), "int4", "wire: must be one of fp32, fp16, uint8"),
    "wire of no encoding": (("offload", "wire"), "", "wire: must be one of"),
    "nothing travels": (("offload", "inputs"), [], "inputs: at least one is needed"),
    "one tensor twice": (("offload", "inputs"), [FEATURES, {**FEATURES, "name": "again"}], "each tensor once"),
    "two of one name": (
        ("offload", "inputs"),
        [FEATURES, {**FEATURES, "tensor": "input"}],
        "names of the server's model must differ",
    ),
    "tensor behind the cut": ((*SENT, "tensor"), "features1", "features1: is no input of the model"),
    "tensor that is not there": ((*SENT, "tensor"), "ghost", "ghost: is no input of the model"),
    "scalar that travels as a tensor": ((*SENT, "tensor"), "exit1_temperature", "exit1_temperature: is no input"),
    "input called as a scalar": ((*SENT, "name"), "exit2_temperature", "names of the server's model must differ"),
    "input called as an output": ((*SENT, "name"), "exit2_logits", "names of the server's model must differ"),
    "name that breaks a line": ((*SENT, "name"), "x\r\nHost: evil", "is not a name"),
    "name with a quote": (("offload", "outputs", 0, "logits"), 'a"b', "is not a name"),
    "dtype of another wire": ((*SENT, "dtype"), "FP16", r"dtype: 'FP16' is none of FP32"),
    "dtype of another tensor": ((*SENT, "dtype"), "INT64", r"dtype: 'INT64' is none of FP32"),
    "dtype of strings": ((*SENT, "dtype"), "BYTES", r"dtype: 'BYTES' is none of FP32"),
    "step of a float": ((*SENT, "scale"), 0.5, "scale and zero_point: both are needed"),
    "step and zero of a float": (SENT, {**FEATURES, "scale": 0.5, "zero_point": 0}, "scale: FP32 has none"),
    "exit is missing": (("offload", "outputs"), [LAST], "outputs: one per exit behind after_exit"),
    "no outputs": (("offload", "outputs"), [], "outputs: one per exit behind after_exit"),
    "exit on the device": (("offload", "outputs", 0, "exit"), 0, "outputs: one per exit behind after_exit"),
    "exit of 10**17": (("offload", "outputs", 0, "exit"), 10**17, "outputs: one per exit behind after_exit"),
    "logits are the confidence": (
        ("offload", "outputs", 0, "logits"),
        "exit1_confidence",
        "names of the server's model must differ",
    ),
    "no variants": (("offload", "variants"), {}, "variants: at least one is needed"),
    "unknown variant": (
        ("offload", "variants"),
        {"onnx/int8": {"temperatures": [1.0], "operating_points": {}}},
        "onnx/int8: there is no such variant",
    ),
    "too few temperatures": ((*POLICY, "temperatures"), [1.0], "temperatures: one per exit"),
    "temperature 0": ((*POLICY, "temperatures", 2), 0, "temperatures: one per exit in"),
    "slopes of no exit": ((*POLICY, "slopes"), [1.0, 1.0, 1.0], "slopes: one per exit that has one"),
    "offsets of no exit": ((*POLICY, "offsets"), [0.0, 0.0, 0.0], "offsets: one per exit that has one"),
    "unknown operating point": (
        (*POLICY, "operating_points", "turbo"),
        {"thresholds": [0.5, 0.5]},
        "turbo: the variant has no such operating point",
    ),
    "too few thresholds": ((*POINT, "thresholds"), [0.5], "thresholds: (1; )?one per early exit"),
    "threshold above 2": ((*POINT, "thresholds"), [0.5, 2.5], r"thresholds: 2\.5 does not lie in"),
    "share above 1": ((*POINT, "offload_share"), 1.5, "offload_share: must lie in"),
    "accuracy above 1": ((*POINT, "link_up", "accuracy"), 1.5, "accuracy or n is out of range"),
    "shares of other exits": ((*POINT, "link_down", "exit_shares"), [1.0], "exit_shares: one per exit is needed"),
    "split that clears the screen": ((*POINT, "link_up", "split"), "\x1b[2J", "1 to 256 characters"),
}

QUANTISED: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "no step": (SENT, {**FEATURES, "dtype": "UINT8"}, "scale: only an input that is made of pixels"),
    "step 0": ((*SENT, "scale"), 0, "scale and zero_point: must lie in"),
    "negative step": ((*SENT, "scale"), -0.5, "scale and zero_point: must lie in"),
    "step beyond float": ((*SENT, "scale"), 1e300, "scale and zero_point: must lie in"),
    "zero of 256": ((*SENT, "zero_point"), 256, "scale and zero_point: must lie in"),
    "negative zero": ((*SENT, "zero_point"), -1, "scale and zero_point: must lie in"),
    "zero without a step": ((*SENT, "scale"), None, "scale and zero_point: both are needed"),
    "zero of a fraction": ((*SENT, "zero_point"), 0.5, "zero_point: expected an integer"),
}


@pytest.mark.parametrize(
    ("wire", "keys", "value", "message"),
    [("fp32", *row) for row in ROWS.values()] + [("uint8", *row) for row in QUANTISED.values()],
    ids=[*ROWS, *QUANTISED],
)
def test_load_hostile_offload_is_refused(
    tmp_path: Path, refusal: Refusal, wire: str, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    def damage(document: Any) -> None:
        with_offload(document, wire=wire)
        place = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    output = refusal(write_tiny_bundle(tmp_path, edit=damage))
    assert re.search(message, output), output


def test_load_pixels_without_preprocessing_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    path = write_tiny_bundle(tmp_path, edit=lambda document: with_offload(document, None, "uint8"))
    ee.open_bundle(path)
    document = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    for preprocess in (None, {"scale": 0.0, "mean": [0.5], "std": [0.5], "resize": None}):
        document["inputs"][0]["preprocess"] = preprocess
        write_manifest(path, document)
        assert "only an input that is made of pixels" in refusal(path)


def test_load_bundle_with_offload_answers_alone_in_both_runtimes(
    tmp_path: Path, native_or_none: Library | None
) -> None:
    plain = ee.load(write_tiny_bundle(tmp_path / "plain"))
    path = write_tiny_bundle(tmp_path, edit=with_offload)
    x = image(1, 1.0)
    expected = plain(x)
    assert ee.load(path)(x).exit == expected.exit
    if native_or_none is not None:
        answer = native_or_none.load(path, engine=onnxruntime_library())(x)
        assert (answer.exit, answer.label) == (expected.exit, expected.label)
