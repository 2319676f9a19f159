"""Rules of `manifest.json`: each violation alone is refused with its message."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from eetool_measure.records import encode
from eetool_runtime.errors import BundleError
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import MAX_MANIFEST_BYTES, Manifest
from eetool_runtime.manifest_parser import parse_manifest
from tests.helpers.tiny_bundle import write_tiny_bundle

FULL = ("variants", "onnx/fp32", "operating_points", "full")
POINT = ("variants", "onnx/fp32", "operating_points", "balanced")
RULE = ("inputs", 0, "preprocess")
VARIANT = ("variants", "onnx/fp32")
MODEL = "components/seg0/onnx-fp32/model.onnx"
GONE = object()
FLAT = {"dtype": "float32", "shape": ["batch"]}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the manifest of the tiny bundle, with a device."""
    root = write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    loaded: dict[str, Any] = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    measured = {"threads": 2, "component_latency_ms": {"seg0": 0.1}}
    loaded["devices"] = {"host": {"machine": "A board", "variants": {"onnx/fp32": measured}}}
    return loaded


def put(document: dict[str, Any], keys: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a copy of `document` with `value` at `keys`; GONE removes the key."""
    changed = copy.deepcopy(document)
    target: Any = changed
    for key in keys[:-1]:
        target = target[key]
    if value is GONE:
        del target[keys[-1]]
    else:
        target[keys[-1]] = value
    return changed


def parse(document: Any) -> Manifest:
    return parse_manifest(json.dumps(document).encode())


def refusal(document: Any) -> str:
    with pytest.raises(BundleError) as caught:
        parse(document)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value.message


def test_parse_manifest_encode_gives_same_document(document: dict[str, Any]) -> None:
    assert encode(parse(document)) == document


def test_plan_steps_of_manifest_are_cumulative(document: dict[str, Any]) -> None:
    manifest = parse(document)
    assert [step.macs for step in plan_steps(manifest, (0.5, 0.5)) if step.gate is not None] == [160, 320, 336]
    assert plan_steps(manifest, (None, None))[-1].macs == 304


RULES: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("name", ("name",), "../evil", "'../evil' is not a name"),
    ("score", ("score",), "max softmax", "'max softmax' is not a name"),
    ("tensor name", ("tensors", "a/b"), FLAT, "'a/b' is not a name"),
    ("component name", ("components", 0, "name"), "", "'' is not a name"),
    ("long name", ("components", 0, "name"), "x" * 129, "'x"),
    ("input name", ("inputs", 0, "name"), "-x", "'-x' is not a name"),
    ("temperature name", ("exits", 0, "temperature"), "t\n", r"'t\\n' is not a name"),
    ("operating point name", (*VARIANT, "operating_points", "a b"), {"thresholds": []}, "'a b' is not a name"),
    ("reference name", (*VARIANT, "references", "é"), MODEL, "'é' is not a name"),
    ("variant name", ("variants", "onnx"), {}, r"variants\.onnx\.components: missing field"),
    ("label", ("labels", 0), "\x1b[2J", r"'\\x1b\[2J': 1 to 256 characters"),
    ("empty label", ("labels", 0), "", "'': 1 to 256 characters"),
    ("label without encoding", ("labels", 0), "\ud800", r"'\\ud800': 1 to 256 characters"),
    ("tap", ("exits", 0, "tap"), "x" * 300, "'x+': 1 to 256 characters"),
    ("producer", ("producer", "tool"), "a\nb", r"'a\\nb': 1 to 256 characters"),
    ("machine", ("devices", "host", "machine"), "", "'': 1 to 256 characters"),
    ("source", ("data", "source"), "\x00", r"'\\x00': 1 to 256 characters"),
    ("expected split", (*POINT, "expected", "split"), "\x7f", r"'\\x7f': 1 to 256 characters"),
    ("dtype", ("tensors", "features0", "dtype"), "float128", r"tensors\.features0\.dtype: unknown 'float128'"),
    ("no dimensions", ("tensors", "features0", "shape"), [], r"tensors\.features0\.shape: 0 dimensions"),
    ("nine dimensions", ("tensors", "features0", "shape"), [1] * 9, r"tensors\.features0\.shape: 9 dimensions"),
    ("zero size", ("tensors", "features0", "shape", 1), 0, r"tensors\.features0\.shape: 0 is no dimension"),
    ("negative size", ("inputs", 0, "shape", 1), -1, r"inputs\.input\.shape: -1 is no dimension"),
    ("no symbol", ("tensors", "features0", "shape", 1), "a b", r"tensors\.features0\.shape: 'a b' is no dimension"),
    ("too large", ("tensors", "features0", "shape"), [1 << 20, 1 << 12], "elements are too many"),
    ("fixed batch", ("inputs", 0, "shape", 0), 1, r"inputs\.input\.shape: the first dimension must be 'batch'"),
    ("variant's dtype", (*VARIANT, "tensors", "features0"), {"dtype": "x", "shape": [1]}, r"features0\.dtype: unknown"),
    ("preprocess rank", ("inputs", 0, "shape"), ["batch", 4, 4], "preprocess: needs float32"),
    ("preprocess size", ("inputs", 0, "shape"), ["batch", 1, "h", 4], "preprocess: needs float32"),
    ("preprocess dtype", ("inputs", 0, "dtype"), "uint8", "preprocess: needs float32"),
    ("preprocess mean", ("inputs", 0, "preprocess", "mean"), [0, 0], "one mean and one std per channel"),
    ("preprocess std", ("inputs", 0, "preprocess", "std"), [0], r"preprocess\.std: must lie in"),
    ("resize fit", (*RULE, "resize"), {"fit": "zoom"}, r"resize\.fit: 'zoom' is none of crop, pad, stretch"),
    ("resize filter", (*RULE, "resize"), {"filter": "box"}, r"resize\.filter: 'box' is none of bilinear"),
    ("resize field", (*RULE, "resize"), {"size": 4}, r"resize\.size: unknown field"),
    ("view of no name", ("inputs", 0, "picture"), "a b", r"inputs\.input\.picture: is no name"),
    ("view without a rule", ("inputs", 0, "picture"), "image", r"inputs\.input\.picture: needs preprocess with a rule"),
    ("no inputs", ("inputs",), [], "inputs: at least one is needed"),
    ("no exits", ("exits",), [], "exits: at least the final one is needed"),
    ("no components", ("components",), [], "tensors.features0: no component makes it"),
    ("input called as a temperature", ("exits", 1, "temperature"), "input", "inputs and temperatures: names must"),
    ("one temperature for two", ("exits", 1, "temperature"), "exit0_temperature", "inputs and temperatures: names"),
    ("kind", ("components", 0, "kind"), "loop", r"components\.seg0\.kind: unknown 'loop'"),
    ("macs", ("components", 0, "macs"), -1, r"components\.seg0: macs and parameters cannot be negative"),
    ("parameters", ("components", 0, "parameters"), -1, r"components\.seg0: macs and parameters cannot be negative"),
    ("input twice", ("components", 0, "inputs"), ["input", "input"], r"components\.seg0\.inputs: names must differ"),
    ("missing tensor", ("components", 0, "inputs"), ["ghost"], r"components\.seg0\.inputs: 'ghost' is made by no"),
    ("cycle", ("components", 0, "inputs"), ["features1"], r"components\.seg0\.inputs: 'features1' is made by no"),
    ("made twice", ("components", 2, "outputs"), ["features0"], r"seg1\.outputs: 'features0' exists already"),
    ("input made", ("components", 0, "outputs"), ["input"], r"seg0\.outputs: 'input' exists already"),
    ("no entry", ("tensors", "features0"), GONE, r"seg0\.outputs: 'features0' has no entry in tensors"),
    ("tensor without a component", ("tensors", "spare"), FLAT, r"tensors\.spare: no component makes it"),
    ("component twice", ("components", 2, "name"), "seg0", "components: names must differ"),
    ("unsplit macs", ("unsplit_macs",), -1, "unsplit_macs: cannot be negative"),
    ("exit of nothing", ("exits", 0, "component"), "ghost", r"exits\[0\]\.component: there is no component 'ghost'"),
    ("logits of another", ("exits", 0, "logits"), "exit1_logits", r"exits\[0\]: the component 'exit0' does not make"),
    (
        "confidence without a component",
        ("exits", 0, "confidence"),
        "x",
        r"exits\[0\]: the component 'exit0' does not make 'x'",
    ),
    ("labels", ("labels",), ["one"], r"exits\[0\]\.logits: must be float32 \(batch, 1\)"),
    ("rank of logits", ("tensors", "exit1_logits", "shape"), ["batch"], r"exits\[1\]\.logits: must be float32"),
    ("dtype of logits", ("tensors", "exit1_logits", "dtype"), "int8", r"exits\[1\]\.logits: must be float32"),
    ("rank of confidence", ("tensors", "exit1_confidence", "shape"), ["batch", 1], r"exits\[1\]\.confidence: must be"),
    ("exit of the kind segment", ("components", 1, "kind"), "segment", "every component but a segment needs an exit"),
    ("exit without exit", ("components", 0, "kind"), "exit", "every component but a segment needs an exit"),
    ("no variants", ("variants",), {}, "variants: at least one is needed"),
    ("component missing", (*VARIANT, "components", "seg1"), GONE, "must name every component and nothing else"),
    ("batch", (*VARIANT, "batch"), 0, r"variants\.onnx/fp32\.batch: must be positive or null"),
    ("variant's tensor", (*VARIANT, "tensors", "ghost"), FLAT, "'ghost' is no tensor between components"),
    ("variant's logits", (*VARIANT, "tensors", "exit0_logits"), FLAT, "'exit0_logits' is no tensor between"),
    ("error", (*VARIANT, "components", "seg0", "max_abs_error"), -1, "errors cannot be negative"),
    ("tolerance", (*VARIANT, "components", "seg0", "tolerance"), -1, "errors cannot be negative"),
    ("precision", (*VARIANT, "components", "seg0", "precision"), "fp8", "precision: unknown 'fp8'"),
    ("samples' tolerance", (*VARIANT, "samples_tolerance"), -1, r"samples_tolerance: must lie in \[0, 0\.001\]"),
    ("samples' tolerance for all", (*VARIANT, "samples_tolerance"), 1e30, r"tolerance: must lie in \[0, 0\.001\]"),
    ("samples' tolerance of int8", (*VARIANT, "samples_tolerance"), 0.1, r"tolerance: must lie in \[0, 0\.001\]"),
    ("format", (*VARIANT, "components", "seg0", "path"), "a.tflite", "'a.tflite' is no onnx file"),
    ("reference's format", (*VARIANT, "references", "unsplit"), "a.txt", "'a.txt' is no onnx file"),
    ("temperatures", (*VARIANT, "temperatures"), [1.0], r"temperatures: one per exit is needed"),
    ("temperature 0", (*VARIANT, "temperatures", 0), 0.0, r"temperatures: must lie in \[1e-6, 1e6\]"),
    ("default point", ("default_operating_point",), "turbo", "the default 'turbo' is missing"),
    ("thresholds", (*POINT, "thresholds"), [0.5], r"balanced\.thresholds: one per early exit is needed"),
    ("threshold below 0", (*POINT, "thresholds", 0), -0.1, r"balanced\.thresholds: -0\.1 does not lie in"),
    ("threshold above 2", (*POINT, "thresholds", 0), 2.1, r"balanced\.thresholds: 2\.1 does not lie in"),
    ("accuracy", (*FULL, "expected", "accuracy"), 1.5, "accuracy or n is out of range"),
    ("n", (*FULL, "expected", "n"), 0, "accuracy or n is out of range"),
    ("shares", (*FULL, "expected", "exit_shares"), [1.0], "exit_shares: one per exit is needed"),
    ("sum of shares", (*FULL, "expected", "exit_shares"), [0.5, 0, 0.4], "must be shares that sum to 1"),
    ("negative share", (*FULL, "expected", "exit_shares"), [-1, 1, 1], "must be shares that sum to 1"),
    ("reached", (*FULL, "expected", "reached"), [None], "reached: one entry per exit is needed"),
    ("reached by more", (*FULL, "expected", "reached", 2, "n"), 17, "reached: a number is out of range"),
    ("depth", (*FULL, "expected", "mean_exit_depth"), 2.5, "mean_exit_depth: is out of range"),
    ("mean macs", (*FULL, "expected", "mean_macs"), -1, "mean_macs: cannot be negative"),
    ("accuracy drop", ("max_accuracy_drop",), -1, "max_accuracy_drop: must lie in"),
    ("split", ("data", "splits", "test", "sha256"), "abc", r"data\.splits\.test: a count and a SHA-256"),
    (
        "device's variant",
        ("devices", "host", "variants", "onnx/int8"),
        {"threads": 1, "component_latency_ms": {}},
        "no",
    ),
    ("threads", ("devices", "host", "variants", "onnx/fp32", "threads"), 10**9, "threads: must lie in"),
    ("time", ("devices", "host", "variants", "onnx/fp32", "component_latency_ms", "seg0"), -1.0, "cannot be negative"),
    ("timed", ("devices", "host", "variants", "onnx/fp32", "component_latency_ms", "ghost"), 1.0, "that is not there"),
    ("path up", ("files", "a/../b"), {"sha256": "0" * 64, "size_bytes": 1}, "'a/../b' is not a plain relative path"),
    ("long path", ("files", "a" * 241), {"sha256": "0" * 64, "size_bytes": 1}, "is not a plain relative path"),
    ("hash", ("files", MODEL, "sha256"), "0" * 63, "not a SHA-256"),
    ("capital hash", ("files", MODEL, "sha256"), "A" * 64, "not a SHA-256"),
    ("size", ("files", MODEL, "size_bytes"), -1, "size_bytes: must lie in"),
    ("huge file", ("files", MODEL, "size_bytes"), 1 << 40, "size_bytes: must lie in"),
    ("file not listed", ("files", MODEL), GONE, f"files: '{MODEL}' is used and not listed"),
    ("samples not listed", ("samples",), "other.npz", "files: 'other.npz' is used and not listed"),
]


@pytest.mark.parametrize(("keys", "value", "message"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_parse_manifest_violated_rule_raises_bundle_error(
    document: dict[str, Any], keys: tuple[Any, ...], value: Any, message: str
) -> None:
    output = refusal(put(document, keys, value))
    assert re.search(message, output), output


def test_parse_manifest_variant_name_without_two_parts_raises_bundle_error(document: dict[str, Any]) -> None:
    variants = document["variants"]
    for name in ("onnx", "onnx/fp32/b1", "ONNX/fp32", "onnx/", "onnx/../x"):
        output = refusal({**document, "variants": {**variants, name: variants["onnx/fp32"]}})
        assert output == f"manifest.json: variants: {name!r} is not FORMAT/PRECISION"


def test_parse_manifest_exits_out_of_order_raises_bundle_error(document: dict[str, Any]) -> None:
    first, second, last = document["exits"]
    assert "follow the order" in refusal({**document, "exits": [second, first, last]})
    both = {**first, "component": "exit1", "logits": "exit1_logits", "confidence": "exit1_confidence"}
    assert "one in each" in refusal({**document, "exits": [both, second, last]})


def test_parse_manifest_int8_variant_with_float_file_and_own_shapes_is_accepted(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document["variants"]["onnx/fp32"])
    other["tensors"] = {"features0": {"dtype": "int8", "shape": ["batch", 4, 4, 1]}}
    other["batch"] = 1
    assert (
        parse({**document, "variants": {**document["variants"], "onnx/int8": other}}).variants["onnx/int8"].batch == 1
    )


@pytest.mark.parametrize("version", ["0.9", "2.0", "10.0", "9999.0"])
def test_parse_manifest_other_major_version_raises_bundle_error(document: dict[str, Any], version: str) -> None:
    output = refusal({**document, "schema_version": version, "whatever": 1})
    assert output == f"manifest.json: schema_version {version} cannot be read by this runtime, which reads 1.x"


@pytest.mark.parametrize(
    "version", ["", "1", "1.0.0", "1.x", "01.0", "1.00", "-1.0", "١.0", "1.0\n", 1.0, None, ["1.0"]]
)
def test_parse_manifest_invalid_version_raises_bundle_error(document: dict[str, Any], version: Any) -> None:
    assert refusal({**document, "schema_version": version}).startswith("manifest.json: schema_version: expected '1.0'")


def test_parse_manifest_newer_minor_version_ignores_unknown_fields_only(document: dict[str, Any]) -> None:
    newer = put({**document, "schema_version": "1.7"}, ("exits", 0, "colour"), "red")
    assert parse(newer).schema_version == "1.7"
    assert "exits[0].tap: missing field" in refusal(put(newer, ("exits", 0, "tap"), GONE))
    assert "exits[0].colour: unknown field" in refusal({**newer, "schema_version": "1.0"})


@pytest.mark.parametrize("keys", [("extra",), ("exits", 0, "extra")])
@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400 + ".0"])
def test_parse_manifest_newer_minor_version_with_overflow_raises_bundle_error(
    document: dict[str, Any], keys: tuple[Any, ...], number: str
) -> None:
    newer = json.dumps(put({**document, "schema_version": "1.1"}, keys, "NUMBER"))
    with pytest.raises(BundleError, match=r"the number .* is too large"):
        parse_manifest(newer.replace('"NUMBER"', number).encode())


def test_parse_manifest_int8_samples_tolerance_is_at_most_a_tenth(document: dict[str, Any]) -> None:
    whole = {name: {**document, "variants": {}} for name in ("most", "more")}
    for name, tolerance in (("most", 0.1), ("more", 0.1001)):
        variant = {**document["variants"]["onnx/fp32"], "samples_tolerance": tolerance}
        whole[name]["variants"] = {"onnx/int8": variant}
        whole[name]["devices"] = {}
    assert parse(whole["most"]).variants["onnx/int8"].samples_tolerance == 0.1
    assert "variants.onnx/int8.samples_tolerance: must lie in [0, 0.1]" in refusal(whole["more"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "it is not valid JSON"),
        (b"[]", "schema_version: expected '1.0' or '1.1', found None"),
        (b"\xff\xfe{}", "it is not UTF-8"),
        (b'\xef\xbb\xbf{"schema_version": "1.0"}', "it is not valid JSON"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "1048577 bytes; at most 1048576 are allowed"),
    ],
)
def test_parse_manifest_other_bytes_raise_bundle_error(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        parse_manifest(data)


def test_parse_manifest_long_value_message_is_short(document: dict[str, Any]) -> None:
    assert len(refusal(put(document, ("components", 0, "kind"), "x" * 100_000))) < 500


def text_document(document: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    item = {"name": "input", "dtype": "int64", "shape": ["batch", 8], "text": rule}
    return put(document, ("inputs", 0), item)


def test_parse_manifest_text_without_segmentation_keeps_the_rule_of_older_bundles(document: dict[str, Any]) -> None:
    text = parse(text_document(document, {"vocabulary": ["a"]})).inputs[0].text
    assert text is not None
    assert text.segmentation == "runs"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_parse_manifest_unknown_segmentation_raises_bundle_error(document: dict[str, Any], version: str) -> None:
    rule = {"vocabulary": ["a"], "segmentation": "unicode-18"}
    with pytest.raises(BundleError) as caught:
        parse({**text_document(document, rule), "schema_version": version})
    assert caught.value.message == (
        "manifest.json: inputs.input.text.segmentation: 'unicode-18' is none of runs, unicode-17"
    )
    assert caught.value.hint == "Install a newer eetool-runtime, or export the bundle again with this version."
