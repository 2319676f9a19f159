"""Documents that `--json` prints: every command's keep to the JSON schema that their `schema` field names."""

import ast
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tests.helpers.tiny_bundle import X, with_stream, write_tiny_bundle

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "eetool/schemas"
CLI = ROOT / "eetool/cli"


def schema_of(document: dict[str, Any]) -> Any:
    stem = document["schema"].replace("/", "-") if "schema" in document else "error"
    return json.loads((SCHEMAS / f"{stem}.schema.json").read_text(encoding="utf-8"))


def validate(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema_of(document)).validate(document)


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Module of every name that is imported by `from module import name`."""
    return {
        alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def printed_ids(source: str) -> Iterator[str]:
    """The schema id of every `CommandResult(id, …)`, a text or an imported constant."""
    tree = ast.parse(source)
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        names = imported_names(tree) | imported_names(function)
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "CommandResult":
                first = call.args[0]
                if isinstance(first, ast.Name):
                    yield getattr(importlib.import_module(names[first.id]), first.id)
                else:
                    assert isinstance(first, ast.Constant), ast.dump(first)
                    yield str(first.value)


IDS = sorted({i for path in CLI.rglob("*.py") for i in printed_ids(path.read_text(encoding="utf-8"))})


def test_printed_ids_finds_texts_and_constants() -> None:
    assert {"train/1", "bench/2", "hw_profile/1", "supernet/1"} <= set(IDS)
    planted = "def f():\n    return CommandResult('planted/1', {}, [])"
    assert list(printed_ids(planted)) == ["planted/1"]


@pytest.mark.parametrize("schema_id", IDS)
def test_printed_ids_have_a_schema_and_a_golden(schema_id: str) -> None:
    stem = schema_id.replace("/", "-")
    assert (SCHEMAS / f"{stem}.schema.json").is_file()
    assert (ROOT / f"tests/golden/{stem}.json").is_file()


def test_operating_points_of_tune_are_those_of_the_manifest() -> None:
    tune, manifest = (json.loads((SCHEMAS / f"{n}.schema.json").read_text()) for n in ("tune-1", "manifest-1.0"))
    for name in ("OperatingPoint", "Expected", "Certificate"):
        assert tune["$defs"][name] == manifest["$defs"][name]


@pytest.mark.parametrize("calibration", ["temperature", "platt"])
@pytest.mark.parametrize("device", [(), ("--device", "rpi5", "--max-latency-ms", 100)], ids=str)
def test_document_of_tune(cli: Any, trained: Path, tmp_path: Path, calibration: str, device: tuple[Any, ...]) -> None:
    options = ("--data", "digits", "--calibration", calibration, "--max-accuracy-drop", 4, *device)
    document = cli("tune", trained, *options, "-o", tmp_path / "m.pt", "--json").document
    validate(document)
    assert (document["cost"] is not None) == bool(device)


def test_document_of_train(cli: Any, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "m.pt", "--force", "--json")
    for options in (("--epochs", 0), ("--data", "digits", "--epochs", 1, "--batch-size", 128)):
        document = cli("train", "resnet8", "--exits", 1, *options, *out).document
        validate(document)
        assert (document["exits"][0]["accuracy"] is None) == ("--data" not in options)


def test_document_of_export(cli: Any, tuned: Path, bundle: Path, tmp_path: Path) -> None:
    validate(json.loads(bundle.with_name("export.json").read_text(encoding="utf-8")))
    single = cli("export", tuned, "--layout", "single", "--no-simplify", "-o", tmp_path / "m.onnx", "--json").document
    validate(single)
    assert single["layout"] == "single"


def test_document_of_inspect(cli: Any, bundle: Path, tuned: Path) -> None:
    documents = [cli("inspect", model, "--json").document for model in (bundle, tuned, "resnet8", "text-tiny")]
    for document in documents:
        validate(document)
    assert [document["kind"] for document in documents] == ["bundle", "model", "backbone", "backbone"]


def test_document_of_run(cli: Any, bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((40, 1, 32, 32), np.float32))
    for options in ((), ("--threshold", 0.0), ("--operating-point", "full")):
        document = cli("run", bundle, tmp_path / "x.npy", *options, "--json").document
        validate(document)
        assert len(document["results"]) == 40


def test_document_of_run_stream(cli: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.concatenate([X, X]))
    streams = write_tiny_bundle(tmp_path, edit=with_stream)
    validate(cli("run", streams, tmp_path / "x.npy", "--stream", "--json").document)


def test_document_of_search_without_trials(cli: Any, tmp_path: Path) -> None:
    options = ("--trials", 0, "--supernet-epochs", 1, "--batch-size", 128, "-o", tmp_path / "front.json", "--json")
    document = cli("search", "--space", "tests.helpers.small_spaces:mobile", "--data", "digits", *options).document
    validate(document)
    assert document["schema"] == "supernet/1"


def test_document_of_report(cli: Any, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    bench = tmp_path / "bench.json"
    cli("bench", bundle, "--data", "digits", "--passes", 1, "--min-seconds", 0, "-o", bench)
    validate(cli("report", bench, bundle, "-o", tmp_path / "page.html", "--json").document)


def test_document_of_table_build_writing_probes(cli: Any, tmp_path: Path) -> None:
    options = ("--write-probes", tmp_path / "probes", "--probes", 8, "--json")
    validate(cli("table", "build", *options).document)


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "{bundle}"),
        ("estimate", "{bundle}", "--device", "rpi4"),
        ("profile", "{bundle}", "--device", "rpi4"),
        ("profile",),
        ("profile", "--device", "rpi5"),
        ("table", "show", "rpi5"),
        ("devices",),
        ("devices", "rpi5"),
        ("completion", "bash"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_document_of_command(cli: Any, bundle: Path, arguments: tuple[str, ...]) -> None:
    document = cli(*(argument.format(bundle=bundle) for argument in arguments), "--json").document
    validate(document)
    assert document["command"] == " ".join(arguments[: 2 if arguments[0] == "table" else 1])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("frobnicate",), 2),
        (("train", "--frobnicate"), 2),
        (("verify", "nowhere"), 3),
        (("devices", "nowhere"), 5),
        (("table", "show"), 2),
    ],
    ids=str,
)
def test_document_of_an_error(cli: Any, arguments: tuple[str, ...], code: int) -> None:
    document = cli(*arguments, "--json").document
    assert "schema" not in document
    validate(document)
    assert document["error"]["code"] == code
