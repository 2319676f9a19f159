"""Hostile manifests. Each row has the attack, the changed place and value, and the expected message."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tiny_bundle import write_manifest, write_tiny_bundle

Refusal = Callable[[Path], str]
VARIANT = ("variants", "onnx/fp32")
SEG0 = (*VARIANT, "components", "seg0", "path")
POINT = (*VARIANT, "operating_points", "balanced")
SEG0_FILE = "components/seg0/onnx-fp32/model.onnx"
FILE = {"sha256": "0" * 64, "size_bytes": 4}

# Paths that leave the bundle, or mean something else on another system.
PATHS = {
    "parent folder": "../outside.onnx",
    "parent folder in the middle": "components/../../outside.onnx",
    "absolute": "/etc/passwd",
    "backslash": "components\\seg0\\model.onnx",
    "drive letter": "C:/model.onnx",
    "network share": "//server/share/model.onnx",
    "web address": "https://example.org/model.onnx",
    "this folder": "./model.onnx",
    "hidden file": ".ssh/id_rsa",
    "double slash": "components//model.onnx",
    "trailing slash": "components/seg0/",
    "nothing": "",
    "null byte": "model.onnx\x00.txt",
    "line break": "model.onnx\n",
    "a slash that only looks like one": "components\u2215model.onnx",
    "home folder": "~/model.onnx",
    "variable": "$HOME/model.onnx",
    "longer than file systems allow": "x" * 5000 + ".onnx",
}

# Field by field: the place, the new value and the expected message.
FIELDS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "version from the future": (("schema_version",), "2.0", r"schema_version 2\.0 cannot be read by this runtime"),
    "version as a number": (("schema_version",), 1.0, r"schema_version: expected '1\.0' or '1\.1', found 1\.0"),
    "version in other digits": (
        ("schema_version",),
        "\u0661.0",
        r"schema_version: expected '1\.0' or '1\.1', found '\u0661\.0'",
    ),
    "unknown field": (("command",), "rm -rf /", r"^manifest\.json: command: unknown field"),
    "unknown field below": (("components", 0, "__class__"), "os.system", r"components\[0\]\.__class__: unknown field"),
    "unknown field that clears the screen": (("\x1b[2J",), 1, r"'\\x1b\[2J': unknown field"),
    "object for a list": (("components",), {}, "components: expected a list, found {}"),
    "list for an object": (("variants",), [], r"variants: expected an object, found \[\]"),
    "true for a number": (("components", 0, "macs"), True, r"components\[0\]\.macs: expected an integer, found True"),
    "fraction for a count": (("components", 0, "macs"), 1.5, r"components\[0\]\.macs: expected an integer, found 1\.5"),
    "null for a name": (("name",), None, "name: expected a string, found None"),
    "name that is a path": (("name",), "../../home", "'../../home' is not a name"),
    "label that clears the screen": (("labels", 0), "\x1b[2J", r"'\\x1b\[2J': 1 to 256 characters"),
    "label that cannot be written": (("labels", 0), "\ud800", r"'\\ud800': 1 to 256 characters"),
    "label without end": (("labels", 0), "x" * 100_000, "'x+…"),
    "variant that is a path": (("variants", "../x"), {}, r"variants\.\.\./x\.components: missing field"),
    "unknown dtype": (("tensors", "features0", "dtype"), "object", r"features0\.dtype: unknown 'object'"),
    "huge shape": (("inputs", 0, "shape"), ["batch", 10**9, 10**9], "1000000000000000000 elements are too many"),
    "negative size": (("inputs", 0, "shape", 2), -4, r"inputs\.input\.shape: -4 is no dimension"),
    "size 0": (("inputs", 0, "shape", 2), 0, r"inputs\.input\.shape: 0 is no dimension"),
    "thousand dimensions": (("tensors", "features0", "shape"), [1] * 1000, "1000 dimensions; 1 to 8 are allowed"),
    "wrong rank": (("tensors", "exit0_logits", "shape"), ["batch", 4, 1], r"exits\[0\]\.logits: must be float32"),
    "confidence per class": (
        ("tensors", "exit0_confidence", "shape"),
        ["batch", 4],
        r"exits\[0\]\.confidence: must be",
    ),
    "fewer labels than logits": (("labels",), ["only"], r"exits\[0\]\.logits: must be float32 \(batch, 1\)"),
    "cycle in the wiring": (
        ("components", 0, "inputs"),
        ["features1"],
        "'features1' is made by no input and no earlier",
    ),
    "component that reads itself": (("components", 0, "inputs"), ["features0"], "'features0' is made by no input"),
    "missing tensor": (("components", 4, "inputs"), ["ghost"], r"components\.exit2\.inputs: 'ghost' is made by no"),
    "tensor made twice": (("components", 2, "outputs"), ["features0"], "'features0' exists already"),
    "input made by a component": (("components", 0, "outputs"), ["input"], "'input' exists already"),
    "temperature that is the input": (
        ("exits", 0, "temperature"),
        "input",
        "inputs and temperatures: names must differ",
    ),
    "two components of one name": (("components", 2, "name"), "seg0", "components: names must differ"),
    "exit on nothing": (("exits", 2, "component"), "ghost", "there is no component 'ghost'"),
    "exit with another's logits": (("exits", 2, "logits"), "exit0_logits", "'exit2' does not make 'exit0_logits'"),
    "negative macs": (("components", 0, "macs"), -1, "macs and parameters cannot be negative"),
    "negative threshold": ((*POINT, "thresholds", 0), -0.5, r"thresholds: -0\.5 does not lie in \[0, 2\.0\]"),
    "threshold beyond the last": ((*POINT, "thresholds", 0), 1e300, r"thresholds: 1e\+300 does not lie in"),
    "threshold in words": ((*POINT, "thresholds", 0), "0.5", r"thresholds\[0\]: expected a number, found '0\.5'"),
    "too few thresholds": ((*POINT, "thresholds"), [0.5], r"balanced\.thresholds: one per early exit is needed"),
    "too many thresholds": ((*POINT, "thresholds"), [0.5] * 10_000, r"balanced\.thresholds: one per early exit"),
    "temperature 0": ((*VARIANT, "temperatures", 0), 0.0, r"temperatures: must lie in \[1e-6, 1e6\]"),
    "default that is not there": (("default_operating_point",), "turbo", "the default 'turbo' is missing"),
    "division by 0": (("inputs", 0, "preprocess", "std"), [0.0], r"preprocess\.std: must lie in"),
    "billion threads": (
        ("devices",),
        {"host": {"machine": "x", "variants": {"onnx/fp32": {"threads": 10**9, "component_latency_ms": {}}}}},
        r"threads: must lie in \[1, 1024\]",
    ),
    "file of another format": (SEG0, "samples/inputs.npz", "'samples/inputs.npz' is no onnx file"),
    "file that is not listed": (SEG0, "components/other.onnx", "'components/other.onnx' is used and not listed"),
    "file without a hash": (("files", SEG0_FILE, "sha256"), "", "sha256: not a SHA-256"),
    "file of a terabyte": (("files", SEG0_FILE, "size_bytes"), 1 << 40, "size_bytes: must lie in"),
    "file of negative size": (("files", SEG0_FILE, "size_bytes"), -1, "size_bytes: must lie in"),
}

# Whole texts: the change of the valid text and the expected message.
TEXTS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "empty": (lambda text: b"", "it is not valid JSON: Expecting value"),
    "cut off": (lambda text: text[: len(text) // 2].encode(), "it is not valid JSON: "),
    "something behind": (lambda text: text.encode() + b"{}", "it is not valid JSON: Extra data"),
    "not UTF-8": (lambda text: b"\xff" + text.encode(), "it is not UTF-8: .* invalid start byte"),
    "UTF-16": (lambda text: text.encode("utf-16-be"), "schema|JSON|UTF-8"),
    "byte order mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), "UTF-8 BOM"),
    "giant": (lambda text: text.encode() + b" " * (1 << 20), r"\d+ bytes; at most 1048576 are allowed"),
    "deep lists": (lambda text: b"[" * 500_000, "it is nested too deeply"),
    "deep objects": (lambda text: b'{"name":' * 100_000, "it is nested too deeply"),
    "deep value": (lambda text: text.replace('"tiny"', "[" * 900 + "]" * 900, 1).encode(), "expected a string|nested"),
    "key twice": (lambda text: text.replace("{", '{"name": "x",', 1).encode(), "the key 'name' occurs twice"),
    "file twice": (
        lambda text: text.replace('"files": {', f'"files": {{"{SEG0_FILE}": {{}},', 1).encode(),
        f"the key '{SEG0_FILE}' occurs twice",
    ),
    "NaN threshold": (lambda text: text.replace("0.8,", "NaN,", 1).encode(), "NaN is not a JSON number"),
    "infinite threshold": (lambda text: text.replace("0.8,", "Infinity,", 1).encode(), "Infinity is not a JSON number"),
    "number beyond float": (lambda text: text.replace("0.8,", "1e999,", 1).encode(), "the number '1e999' is too large"),
    "integer without end": (
        lambda text: text.replace('"macs": 144', '"macs": ' + "9" * 500_000, 1).encode(),
        "the integer 999999999999999999… is too long",
    ),
    "a list": (lambda text: b"[" + text.encode() + b"]", r"schema_version: expected '1\.0' or '1\.1', found None"),
    "a word": (lambda text: b'"manifest"', r"schema_version: expected '1\.0' or '1\.1', found None"),
    "no version": (lambda text: b"{}", r"schema_version: expected '1\.0' or '1\.1', found None"),
}


def put(document: Any, keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        document = document[key]
    document[keys[-1]] = value


@pytest.mark.parametrize("used", [True, False], ids=["used", "only listed"])
@pytest.mark.parametrize("path", list(PATHS.values()), ids=list(PATHS))
def test_load_hostile_path_is_refused(tmp_path: Path, refusal: Refusal, path: str, used: bool) -> None:
    """The path is listed with a plausible size and hash, and may be the path of the samples."""

    def edit(document: dict[str, Any]) -> None:
        document["files"][path] = FILE
        if used:
            document["samples"] = path

    (tmp_path / "outside.onnx").write_bytes(b"once")
    output = refusal(write_tiny_bundle(tmp_path, edit=edit))
    assert output.startswith(f"manifest.json: files: {path!r}"[:300])
    assert output.endswith("is not a plain relative path") or len(path) > 300


@pytest.mark.parametrize(("keys", "value", "message"), list(FIELDS.values()), ids=list(FIELDS))
def test_load_hostile_field_is_refused(
    bundle: Path, refusal: Refusal, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    put(document, keys, value)
    (bundle / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    output = refusal(bundle)
    assert re.search(message, output), output


@pytest.mark.parametrize(("change", "message"), list(TEXTS.values()), ids=list(TEXTS))
def test_load_hostile_text_is_refused(
    bundle: Path, refusal: Refusal, change: Callable[[str], bytes], message: str
) -> None:
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    (bundle / "manifest.json").write_bytes(change(text))
    output = refusal(bundle)
    assert re.search(message, output), output


def test_load_missing_field_is_refused(bundle: Path, refusal: Refusal) -> None:
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for name in ("name", "inputs", "labels", "tensors", "exits", "components", "variants", "files"):
        write_manifest(bundle, {key: value for key, value in document.items() if key != name})
        assert refusal(bundle) == f"manifest.json: {name}: missing field"
