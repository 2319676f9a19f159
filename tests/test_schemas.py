"""JSON schemas: valid, closed, and in agreement with their goldens and with the readers."""

import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.errors import ArtefactError
from eetool.latency.table import hw_profile, table
from eetool.records import canonical
from eetool_runtime import manifest, manifest_figures, manifest_offload
from eetool_runtime.errors import BundleError
from eetool_runtime.manifest_parser import parse_manifest
from tests.helpers.tiny_bundle import with_offload, with_stream, write_tiny_bundle
from tests.helpers.tiny_litert_bundle import write_litert_bundle

ROOT = Path(__file__).parents[1]
SCHEMAS = {path.name.removesuffix(".schema.json"): path for path in (ROOT / "eetool/schemas").glob("*.schema.json")}
GOLDEN = Path(__file__).parent / "golden"
HW_PROFILES = sorted((ROOT / "hw_profiles").glob("*.json"))
VARIANT = ("variants", "onnx/fp32")
POINT = (*VARIANT, "operating_points", "balanced")
GONE = object()


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def schema(stem: str) -> Any:
    return load(SCHEMAS[stem])


def fits(stem: str, document: Any) -> bool:
    return jsonschema.Draft202012Validator(schema(stem)).is_valid(document)


def put(document: Any, keys: tuple[Any, ...], value: Any) -> Any:
    """A copy of `document` with `value` at `keys`, or nothing there for GONE."""
    changed = copy.deepcopy(document)
    target = changed
    for key in keys[:-1]:
        target = target[key]
    if value is GONE:
        del target[keys[-1]]
    else:
        target[keys[-1]] = value
    return changed


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a schema."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


@pytest.mark.parametrize("stem", sorted(SCHEMAS))
def test_schema_is_valid_and_titled(stem: str) -> None:
    document = schema(stem)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["title"] == stem.replace("-", "/")
    assert document["description"]


@pytest.mark.parametrize("stem", sorted(SCHEMAS))
def test_schema_objects_are_closed(stem: str) -> None:
    for part in objects(schema(stem)):
        if part.get("type") == "object":
            assert "additionalProperties" in part, part
        if part.get("type") == "object" and "properties" in part:
            assert part["additionalProperties"] is False, part


@pytest.mark.parametrize("stem", sorted(SCHEMAS))
def test_golden_conforms_to_schema(stem: str) -> None:
    jsonschema.Draft202012Validator(schema(stem)).validate(load(GOLDEN / f"{stem}.json"))


def test_golden_has_a_schema() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} <= {*SCHEMAS, "manifest-1.1"}  # one schema for both versions


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_golden_manifest_round_trips_bytes(version: str) -> None:
    golden = (GOLDEN / f"manifest-{version}.json").read_bytes()
    assert json.loads(golden)["schema_version"] == version
    assert canonical(parse_manifest(golden)).encode() == golden
    assert fits("manifest-1.0", json.loads(golden))


def test_tiny_bundle_has_golden_manifest(tmp_path: Path) -> None:
    written, golden = write_tiny_bundle(tmp_path) / "manifest.json", GOLDEN / "manifest-1.0.json"
    assert _without_archives(written) == _without_archives(golden)


def test_tiny_bundle_with_streams_and_offload_has_golden_manifest(tmp_path: Path) -> None:
    written = write_tiny_bundle(tmp_path, edit=with_stream_and_offload) / "manifest.json"
    assert _without_archives(written) == _without_archives(GOLDEN / "manifest-1.1.json")


def with_stream_and_offload(document: Any) -> None:
    with_stream(document)
    with_offload(document, wire="uint8")


@pytest.mark.parametrize("after_exit", [None, 0, 1])
@pytest.mark.parametrize("wire", ["fp32", "fp16", "uint8"])
def test_offload_of_every_wire_is_read_and_conforms_to_schema(
    tmp_path: Path, after_exit: int | None, wire: str
) -> None:
    path = write_tiny_bundle(tmp_path, edit=lambda document: with_offload(document, after_exit, wire))
    document = load(path / "manifest.json")
    assert (is_read(document), fits("manifest-1.0", document)) == (True, True)


def _without_archives(path: Path) -> str:
    """Return a manifest without hashes and sizes of npz files: Python 3.11.4 and later write other zip headers."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for name, file in document["files"].items():
        if name.endswith(".npz"):
            file.update(sha256="", size_bytes=0)
    return json.dumps(document)


@pytest.mark.parametrize(
    "tweaks", [{"joined": True}, {"chained": True}, {"ids": True}, {"early_exits": 0}, {"references": False}], ids=str
)
def test_tiny_bundle_variants_conform_to_schema(tmp_path: Path, tweaks: dict[str, Any]) -> None:
    assert fits("manifest-1.0", load(write_tiny_bundle(tmp_path, **tweaks) / "manifest.json"))


def test_manifest_of_version_1_1_conforms_to_schema_and_is_canonical(tmp_path: Path) -> None:
    written = write_litert_bundle(tmp_path, shared=True) / "manifest.json"
    assert load(written)["schema_version"] == "1.1"
    assert fits("manifest-1.0", load(written))
    assert canonical(parse_manifest(written.read_bytes())).encode() == written.read_bytes()


def test_golden_hw_profile_round_trips_bytes() -> None:
    path = GOLDEN / "hw_profile-1.json"
    written = canonical({"schema": hw_profile.SCHEMA, **hw_profile.profile_document(hw_profile.read_profile(path))})
    assert written.encode() == path.read_bytes()


@pytest.mark.parametrize("path", HW_PROFILES, ids=lambda path: path.stem)
def test_hw_profile_conforms_to_schema_and_is_read(path: Path) -> None:
    jsonschema.Draft202012Validator(schema("hw_profile-1")).validate(load(path))
    profile = hw_profile.read_profile(path)
    assert profile.name == path.stem
    assert all(power.power_w > 0 for power in profile.power)


def test_device_names_are_unique() -> None:
    names = [name for profile in hw_profile.known_devices() for name in (profile.name, *profile.aliases)]
    assert len(set(names)) == len(names)
    assert {"rpi5", "rpi4", "rpi3", "rpi-zero2w", "pixel3"} <= set(names)


RECORDS = [
    (stem, value)
    for stem, module in (
        ("manifest-1.0", manifest),
        ("manifest-1.0", manifest_figures),
        ("manifest-1.0", manifest_offload),
        ("hw_profile-1", hw_profile),
        ("hw_profile-1", table),
    )
    for value in vars(module).values()
    if dataclasses.is_dataclass(value) and value.__module__ == module.__name__ and value is not table.LatencyTable
]


@pytest.mark.parametrize(("stem", "record"), RECORDS)
def test_schema_and_record_have_same_fields(stem: str, record: Any) -> None:
    whole = schema(stem)
    part = whole if record.__name__ in ("Manifest", "HwProfile") else whole["$defs"][record.__name__]
    fields = list(dataclasses.fields(record))
    extra = ["eetool", "command", "schema", "ok"] if record.__name__ == "HwProfile" else []
    assert list(part["properties"]) == extra + [f.name for f in fields]
    if stem == "manifest-1.0":
        missing = (dataclasses.MISSING, dataclasses.MISSING)
        assert part["required"] == [f.name for f in fields if (f.default, f.default_factory) == missing]


@pytest.mark.parametrize("record", [r for stem, r in RECORDS if stem == "manifest-1.0"])
def test_bundle_format_page_names_every_field(record: Any) -> None:
    text = (ROOT / "docs/bundle-format.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(record):
        assert f"`{field.name}`" in text or f"{{{field.name}, " in text or f", {field.name}}}" in text, field.name


# What both the reader and the schema refuse.
BROKEN: list[tuple[tuple[Any, ...], Any]] = [
    (("schema_version",), "2.0"),
    (("schema_version",), 1.0),
    (("name",), "a/b"),
    (("name",), GONE),
    (("colour",), "red"),
    (("inputs",), []),
    (("inputs", 0, "dtype"), "float128"),
    (("inputs", 0, "shape"), []),
    (("inputs", 0, "shape", 0), 1),
    (("inputs", 0, "shape", 1), 0),
    (("inputs", 0, "shape", 1), 1.5),
    (("inputs", 0, "preprocess", "std"), [0.0]),
    (("inputs", 0, "preprocess", "std"), "1"),
    (("inputs", 0, "text"), {"vocabulary": [], "segmentation": "unicode-18"}),
    (("labels", 0), "\x1b[2J"),
    (("labels", 0), ""),
    (("tensors", "features0", "shape"), [1] * 9),
    (("tensors", "a b"), {"dtype": "float32", "shape": [1]}),
    (("exits",), []),
    (("exits", 0, "tap"), 3),
    (("components", 0, "kind"), "loop"),
    (("components", 0, "macs"), -1),
    (("components", 0, "macs"), True),
    (("components", 0, "inputs"), ["input", "input"]),
    (("variants",), {}),
    (("variants", "onnx"), {}),
    ((*VARIANT, "batch"), 0),
    ((*VARIANT, "samples_tolerance"), -1e-4),
    ((*VARIANT, "samples_tolerance"), 1e30),
    ((*VARIANT, "temperatures", 0), 0.0),
    ((*VARIANT, "components", "seg0", "tolerance"), -1e-4),
    ((*POINT, "thresholds", 0), -0.1),
    ((*POINT, "thresholds", 0), 2.5),
    ((*POINT, "thresholds", 0), "0.5"),
    ((*POINT, "expected", "accuracy"), 97.5),
    ((*POINT, "expected", "n"), 0),
    ((*POINT, "expected", "exit_shares", 0), -0.1),
    (("producer", "eetool"), 1),
    (("files", "../x"), {"sha256": "0" * 64, "size_bytes": 1}),
    (("files", "samples/inputs.npz", "sha256"), "F" * 64),
    (("files", "samples/inputs.npz", "size_bytes"), 1 << 40),
    (("max_accuracy_drop",), -1),
    (("data", "splits", "test", "sha256"), ""),
    (("devices",), {"host": {"machine": "x", "variants": {"onnx/fp32": {"threads": 0, "component_latency_ms": {}}}}}),
    (("devices",), None),
]

OFFLOAD_BROKEN: list[tuple[tuple[Any, ...], Any]] = [
    (("offload", "after_exit"), -1),
    (("offload", "model"), "tiny"),
    (("offload", "wire"), "int4"),
    (("offload", "inputs"), []),
    (("offload", "inputs", 0, "dtype"), "BYTES"),
    (("offload", "inputs", 0, "scale"), 0),
    (("offload", "inputs", 0, "zero_point"), 256),
    (("offload", "outputs"), []),
    (("offload", "outputs", 0, "logits"), "a b"),
    (("offload", "variants"), {}),
    (("offload", *VARIANT, "temperatures", 0), 0),
    (("offload", *POINT, "thresholds", 0), 2.5),
    (("offload", *POINT, "offload_share"), 1.5),
    (("offload", *POINT, "link_up", "accuracy"), 97.5),
    (("offload", "url"), "grpc://edge:8001"),
]

# What takes more than a schema: rules between fields.
BETWEEN_FIELDS: list[tuple[tuple[Any, ...], Any]] = [
    (("components", 0, "inputs"), ["ghost"]),
    (("labels",), ["one"]),
    (("default_operating_point",), "turbo"),
    ((*POINT, "thresholds"), [0.5]),
    ((*POINT, "expected", "exit_shares"), [0.5, 0.5, 0.5]),
    (("samples",), "other.npz"),
    ((*VARIANT, "samples_tolerance"), 0.1),
    (("tensors", "spare"), {"dtype": "float32", "shape": [1]}),
]


def is_read(document: Any) -> bool:
    try:
        parse_manifest(json.dumps(document).encode())
    except BundleError:
        return False
    return True


@pytest.mark.parametrize(("keys", "value"), BROKEN, ids=lambda x: ".".join(map(str, x)) if isinstance(x, tuple) else "")
def test_manifest_reader_and_schema_refuse_same_documents(keys: tuple[Any, ...], value: Any) -> None:
    document = put(load(GOLDEN / "manifest-1.0.json"), keys, value)
    assert (is_read(document), fits("manifest-1.0", document)) == (False, False)


@pytest.mark.parametrize(("keys", "value"), OFFLOAD_BROKEN, ids=str)
def test_manifest_reader_and_schema_refuse_same_offload(keys: tuple[Any, ...], value: Any) -> None:
    document = put(load(GOLDEN / "manifest-1.1.json"), keys, value)
    assert (is_read(document), fits("manifest-1.0", document)) == (False, False)


@pytest.mark.parametrize(("keys", "value"), BETWEEN_FIELDS, ids=str)
def test_manifest_rules_between_fields_are_only_in_reader(keys: tuple[Any, ...], value: Any) -> None:
    document = put(load(GOLDEN / "manifest-1.0.json"), keys, value)
    assert (is_read(document), fits("manifest-1.0", document)) == (False, True)


@pytest.mark.parametrize("name", ["unsplit_macs", "max_accuracy_drop", "data", "devices", "stream", "offload"])
def test_manifest_reader_and_schema_have_same_optional_fields(name: str) -> None:
    document = put(load(GOLDEN / "manifest-1.1.json"), (name,), GONE)
    assert (is_read(document), fits("manifest-1.0", document)) == (True, True)


GOLDEN_MANIFEST = load(GOLDEN / "manifest-1.0.json")
VALIDATOR = jsonschema.Draft202012Validator(schema("manifest-1.0"))
PLACES = [
    (*path, key)
    for path, value in [
        ((), GOLDEN_MANIFEST),
        (("inputs", 0), GOLDEN_MANIFEST["inputs"][0]),
        (("exits", 0), GOLDEN_MANIFEST["exits"][0]),
        (("components", 0), GOLDEN_MANIFEST["components"][0]),
        (VARIANT, GOLDEN_MANIFEST["variants"]["onnx/fp32"]),
        (POINT, GOLDEN_MANIFEST["variants"]["onnx/fp32"]["operating_points"]["balanced"]),
    ]
    for key in value
]
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from(["batch", "seg0", ""])


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PLACES), scalars | st.lists(scalars, max_size=3) | st.just({}))
def test_schema_accepts_what_manifest_reader_accepts(keys: tuple[Any, ...], value: Any) -> None:
    document = put(GOLDEN_MANIFEST, keys, value)
    if is_read(document):
        VALIDATOR.validate(document)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("power", 0, "power_w"), 0),
        (("power", 0, "scope"), "socket"),
        (("power", 0, "provenance"), "guessed"),
        (("table", 0, "kind"), "guessed"),
        (("table", 0, "median_ms"), GONE),
        (("table", 0, "median_ms"), 1e9),
        (("table", 0, "kernel"), "conv_bn_relu"),
        (("table", 0, "source"), GONE),
        (("table", 0, "energy", "energy_mj"), 0),
        (("table", 0, "energy", "scope"), "socket"),
        (("table", 1, "cv_error"), GONE),
        (("table", 1, "latency_ms"), GONE),
        (("regressions", 0, "ms_per_mmac"), -1),
        (("regressions", 0, "n"), 0),
        (("compositions", 0, "dispatch_ms"), GONE),
        (("compositions", 0, "channel_block"), 0),
        (("facts", "soc"), GONE),
        (("facts", "colour"), "green"),
        (("schema",), "hw_profile/2"),
    ],
)
def test_hw_profile_reader_and_schema_refuse_same_documents(tmp_path: Path, keys: tuple[Any, ...], value: Any) -> None:
    document = put(load(GOLDEN / "hw_profile-1.json"), keys, value)
    assert not fits("hw_profile-1", document)
    path = tmp_path / "device.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ArtefactError):
        hw_profile.read_profile(path)
