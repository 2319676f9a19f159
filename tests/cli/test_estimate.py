"""`eetool profile` as a prediction, and `--build-table` through another device's measuring."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_predict import profile, table

from eetool.latency.table.hw_profile import profile_document
from eetool.records import canonical
from eetool_measure.__main__ import main as measure
from tests.helpers.onnx_graphs import model, save
from tests.helpers.tiny_bundle import write_tiny_bundle

SCHEMAS = Path(__file__).parents[2] / "eetool/schemas"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "board.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(profile(table()))}))
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model(), tmp_path_factory.mktemp("net") / "net.onnx")


def test_an_onnx_file_is_predicted(cli: Any, board: Path, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "predicted.json"
    said = cli("profile", net, "--device", board, "-o", out)
    assert said.code == 0, said
    for words in ("predicted for board", "net.onnx", "not known", "90% interval"):
        assert words in said.stdout
    written = json.loads(out.read_text())
    jsonschema.validate(written, json.loads((SCHEMAS / "predict-1.schema.json").read_text()))
    assert (written["provenance"], written["graphs"][0]["energy_mj"]["value"]) == ("predicted", None)


def test_a_bundle_is_predicted_at_its_operating_points(cli: Any, board: Path, tmp_path: Path) -> None:
    said = cli("profile", write_tiny_bundle(tmp_path), "--device", board, "--threads", 4)
    assert said.code == 0, said
    for words in ("seg0", "exit0", "balanced", "warning: the table of board has no threads 4"):
        assert words in said.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="hw_profile/9"), "expected schema 'hw_profile/1'"),
        (lambda d: d["table"][0].update(median_ms=-1), r"table[0]: its figures cannot be negative"),
        (lambda d: d["table"][0].update(median_ms=float("nan")), "NaN is not a JSON number"),
        (lambda d: d["table"][0].update(median_ms=5e6), "are these other units"),
        (lambda d: d["table"][0].update(median_us=5.0), "table[0].median_us: unknown field"),
        (lambda d: d["table"][0].update(kernel="warp"), "unknown kernel 'warp'"),
    ],
)
def test_bad_tables_are_refused(cli: Any, board: Path, net: Path, tmp_path: Path, change: Any, message: str) -> None:
    value = json.loads(board.read_text())
    change(value)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(value))
    said = cli("profile", net, "--device", bad)
    assert (said.code, message in said.stderr) == (3, True), said


def test_probes_of_several_kinds_lie_side_by_side(cli: Any, tmp_path: Path) -> None:
    probes = tmp_path / "probes"
    options = ("--precision", "fp32", "--precision", "int8", "--probes", 8, "--write-probes", probes, "--json")
    said = cli("profile", "--build-table", *options)
    assert (said.code, json.loads(said.stdout)["probes"]) == (0, {"onnx/fp32": 8, "onnx/int8": 8}), said
    for name in ("onnx-fp32", "onnx-int8"):
        assert json.loads((probes / name / "probes.json").read_text())["precision"] == name[-4:]


def test_probes_never_replace_a_folder(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "wedding.jpg").touch()
    for more in ((), ("--force",), ("--precision", "fp32", "--precision", "int8", "--force")):
        said = cli("profile", "--build-table", "--probes", 8, "--write-probes", tmp_path / "photos", *more)
        assert (said.code, "photos" in said.stderr) == (2, True), said
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["wedding.jpg"]


def test_a_table_begun_before_is_not_lost(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my.json.partial").write_text("precious")
    said = cli("profile", "--build-table", "--probes", 8, "-o", tmp_path / "my.json")
    assert (said.code, "--resume goes on" in said.stderr) == (2, True), said
    assert (tmp_path / "my.json.partial").read_text() == "precious"


def test_another_device_measures_what_was_written_here(
    cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes, times, made = tmp_path / "probes", tmp_path / "times.json", tmp_path / "pi.json"
    assert cli("profile", "--build-table", "--probes", 8, "--write-probes", probes).code == 0
    assert measure([str(probes), "--runs", "1", "--min-seconds", "0"]) == 0
    document = json.loads(capsys.readouterr().out)
    for probe in document["probes"]:  # a busy machine must not fail this test
        probe["latency_ms"]["mad"] = 0.0
        noted_us = sum(kernel["mean_us"] for kernel in probe["kernels"])
        probe["latency_ms"]["median"] = (noted_us - 0.5 * len(probe["kernels"]) + 5) / 1e3
    times.write_text(json.dumps(document))
    said = cli("profile", "--build-table", "--device", "my-pi", "--times", times, "-o", made)
    assert said.code == 0, said
    assert json.loads(made.read_text())["name"] == "my-pi"
    assert cli("profile", "--device", made).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--build-table"], 2, "--build-table takes no INPUT and needs -o"),
        (["--build-table", "--device", "rpi4", "-o", "{out}"], 2, "is not to be called rpi4"),
        (["--build-table", "--times", "{out}", "-o", "{out}"], 3, "cannot be read"),
        (["--build-table", "--format", "coreml", "-o", "{out}"], 2, "unknown 'coreml'"),
        (["--build-table", "--precision", "fp16", "-o", "{out}"], 2, "unknown 'fp16'"),
    ],
)
def test_building_says_what_is_wrong(cli: Any, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    said = cli("profile", *(a.format(out=tmp_path / "out.json") for a in arguments))
    assert (said.code, message in said.stderr) == (code, True), said
