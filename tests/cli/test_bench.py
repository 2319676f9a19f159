"""`eetool bench`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from eetool.cli.app import cli
from eetool.data.image_form import DataChoice
from eetool.data.source import Source
from eetool.data.splits import split_record
from eetool.errors import UsageError
from eetool_measure.machine_state import read_machine_state
from eetool_runtime.manifest import Data
from tests.helpers.tiny_bundle import LABELS, pixels, write_tiny_bundle
from tests.helpers.tiny_graphs import CLASSES

ROOT = Path(__file__).parents[2]
QUICK_BENCH = ["--passes", "2", "--min-seconds", "0", "--threads", "1"]
INDICES = np.arange(64)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def schema(name: str) -> Any:
    return json.loads((ROOT / f"eetool/schemas/{name}.schema.json").read_text())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path, data=Data("tiny", split_record({"test": INDICES})))


@pytest.fixture(autouse=True)
def tiny_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data tiny`: images of the tiny bundle, all of them its test split."""

    def load_source(data: str | DataChoice, progress: object = None, form: object = None) -> Source:
        name = data.name if isinstance(data, DataChoice) else data
        if name != "tiny":
            raise UsageError(f"unknown data source {name!r}", "Known sources: tiny.")
        pairs = [(label, contrast) for contrast in np.linspace(0.25, 4, 16) for label in range(CLASSES)]
        images = np.stack([pixels(*pair)[None] for pair in pairs])
        return Source("tiny", images, np.array([label for label, _ in pairs], np.int64), LABELS, mirror=False)

    monkeypatch.setattr("eetool.data.registry.load_source", load_source)
    monkeypatch.setattr("eetool.data.source_names.KINDS", ("tiny",))
    monkeypatch.setattr("eetool.data.source_names.WITHOUT_PATH", frozenset({"tiny"}))
    monkeypatch.setattr("eetool.data.splits.split_source", lambda source, hold_out: {"test": INDICES})


def test_bench_text_ends_with_verdict(bundle: Path) -> None:
    result = run("bench", bundle, "--data", "tiny", *QUICK_BENCH)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.rstrip().splitlines()
    assert lines[:2] == [
        "tiny onnx/fp32, 64 examples of tiny, batch 1, 1 thread",
        "4 ways, timed in 2 passes",
    ]
    assert lines[-1].startswith(("Early exit ", "Cannot tell whether early exit pays: "))
    for name in ("unsplit", "full", "balanced", "fast"):
        assert any(line.lstrip(" *?").startswith(name) for line in lines)
    assert max(len(line) for line in lines[:-1]) <= 80


def test_bench_of_several_variants_names_them_and_the_written_file(tmp_path: Path) -> None:
    def add(document: dict[str, Any]) -> None:
        document["variants"]["onnx/int8"] = {**document["variants"]["onnx/fp32"], "batch": 4}
        document["variants"]["onnx/second"] = document["variants"]["onnx/fp32"]

    out, data = tmp_path / "bench.json", Data("tiny", split_record({"test": INDICES}))
    twins = write_tiny_bundle(tmp_path, name="twins", edit=add, data=data)
    result = run("bench", twins, "--data", "tiny", *QUICK_BENCH, "-o", out)
    lines = result.stdout.splitlines()
    names = ", ".join(f"onnx/int8 {name}" for name in ("full", "balanced", "fast"))
    assert f"not run: {names}: the variant onnx/int8 has the batch size 4, not 1" in lines
    float_names = "onnx/int8 unsplit, onnx/second unsplit"
    assert f"not run: {float_names}: its graph stayed fp32 at export, so it is that of onnx/fp32" in lines
    assert f"wrote {out}" in result.stderr
    assert sum("onnx/second" in line for line in lines if line.lstrip(" *?").startswith("onnx/")) == 3
    assert max(len(line) for line in lines if line.lstrip(" *?").startswith("onnx/")) <= 80


def test_bench_of_unsteady_times_keeps_what_it_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttled = replace(read_machine_state(), throttled=True)
    monkeypatch.setattr("eetool.bench.benchmark.read_machine_state", lambda: throttled)
    monkeypatch.delenv("EETOOL_ACCEPT_UNSTABLE")
    out, page = tmp_path / "bench.json", tmp_path / "page.html"
    result = run("bench", bundle, "--data", "tiny", *QUICK_BENCH, "-o", out)
    assert result.exit_code == 7
    assert "error: the measurement is unstable: the board was slowed down" in result.stderr
    assert "unstable: the board was slowed down by heat or a weak supply" in result.stdout
    document = json.loads(out.read_text())
    jsonschema.validate(document, schema("bench-2"))
    assert (document["ok"], document["verdict"]["pays"], document["error"]["code"]) == (False, None, 7)
    assert len(document["ways"]) == 4
    assert run("report", out, "-o", page).exit_code == 0
    assert "The measurement is unstable: the board was slowed down" in page.read_text()
    accepted = run("bench", bundle, "--data", "tiny", *QUICK_BENCH, "--accept-unstable", "-o", out, "--force")
    assert accepted.exit_code == 0
    assert "unstable: the board was slowed down by heat or a weak supply" in accepted.stdout
    assert run("report", out, "-o", page, "--force").exit_code == 0
    assert "unstable benchmark: the board was slowed down by heat or a weak supply" in page.read_text()


def test_bench_writes_the_printed_document(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    net = bundle / "reference/unsplit/onnx-fp32/model.onnx"
    result = run("bench", bundle, "--data", "tiny", "--against", net, *QUICK_BENCH, "--json", "-o", out)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads(out.read_text())
    jsonschema.validate(document, schema("bench-2"))
    assert [p["name"] for p in document["ways"]] == ["unsplit", "full", "balanced", "fast", "model.onnx"]
    again = run("bench", bundle, "--data", "tiny", *QUICK_BENCH, "-o", out)
    assert (again.exit_code, "--force" in again.stderr) == (2, True)


def test_bench_without_references_compares_with_the_named_one(bundle: Path, tmp_path: Path) -> None:
    data = Data("tiny", split_record({"test": INDICES}))
    stripped = write_tiny_bundle(tmp_path, name="stripped", references=False, data=data)
    result = run("bench", stripped, "--data", "tiny", "--reference", bundle, *QUICK_BENCH, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert [p["name"] for p in document["ways"]] == ["full", "balanced", "fast", bundle.name]
    assert document["reference"] == document["verdict"]["against"] == bundle.name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.eebundle", "--data", "tiny"], 3, "does not exist"),
        (["{bundle}", "--data", "cifar"], 2, "unknown data source"),
        (["{bundle}"], 2, "--data"),
        (["{bundle}", "--data", "tiny", "--variant", "tflite/int8"], 2, "has no variant"),
        (["{bundle}", "--data", "tiny", "--operating-point", "slow"], 2, "unknown operating point"),
        (["{bundle}", "--data", "tiny", "--against", "nothing.onnx"], 3, "does not exist"),
        (["{bundle}", "--data", "tiny", "--against", "{text}"], 3, "cannot be read as an ONNX file"),
        (["{bundle}", "--data", "tiny", "--against", "{stripped}"], 3, "no reference/unsplit"),
        (["{stripped}", "--data", "tiny"], 3, "no reference/unsplit"),
        (["{other_split}", "--data", "tiny"], 3, "split of 'tiny' is not the one"),
        (["{bundle}", "--data", "tiny", "-o", "{missing_folder}/x.json"], 2, "is not a folder"),
    ],
)
def test_bench_wrong_arguments_are_refused(
    bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "text.onnx").write_text("not a net")
    data = Data("tiny", split_record({"test": INDICES}))
    places = {
        "bundle": bundle,
        "text": tmp_path / "text.onnx",
        "stripped": write_tiny_bundle(tmp_path, name="stripped", references=False, data=data),
        "other_split": write_tiny_bundle(
            tmp_path, name="other", data=Data("tiny", split_record({"test": INDICES[1:]}))
        ),
        "missing_folder": tmp_path / "nowhere",
    }
    result = run("bench", *(a.format(**places) for a in arguments), *QUICK_BENCH)
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
