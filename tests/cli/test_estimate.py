"""`eetool estimate`, and `eetool profile MODEL --device NAME`, its earlier spelling."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eetool.latency.table.hw_profile import profile_document
from eetool.records import canonical
from tests.helpers.latency_tables import profile, table
from tests.helpers.onnx_graphs import model, save
from tests.helpers.tiny_bundle import write_tiny_bundle

SCHEMAS = Path(__file__).parents[2] / "eetool/schemas"
VERBS = ("estimate", "profile")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "board.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(profile(table()))}))
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model(), tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.mark.parametrize("verb", VERBS)
def test_estimate_onnx_file_writes_prediction(cli: Any, board: Path, net: Path, tmp_path: Path, verb: str) -> None:
    out = tmp_path / "predicted.json"
    result = cli(verb, net, "--device", board, "-o", out)
    assert result.code == 0, result
    for words in ("predicted for board", "net.onnx", "not known", "90% interval"):
        assert words in result.stdout
    written = json.loads(out.read_text())
    jsonschema.validate(written, json.loads((SCHEMAS / "predict-1.schema.json").read_text()))
    assert (written["provenance"], written["graphs"][0]["energy_mj"]["value"]) == ("predicted", None)
    assert written["command"] == verb
    assert cli(verb, net, "--device", board, "-o", out).code == 2


@pytest.mark.parametrize("verb", VERBS)
def test_estimate_bundle_lists_operating_points(cli: Any, board: Path, tmp_path: Path, verb: str) -> None:
    result = cli(verb, write_tiny_bundle(tmp_path), "--device", board, "--threads", 4)
    assert result.code == 0, result
    for words in ("seg0", "exit0", "balanced", "warning: the table of board has no threads 4"):
        assert words in result.stdout


@pytest.mark.parametrize("options", [(), ("--threads", 4), ("--watts", 3), ("--variant", "onnx/fp32")], ids=str)
def test_profile_with_device_prints_what_estimate_prints(
    cli: Any, board: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    bundle = write_tiny_bundle(tmp_path)
    estimated, profiled = (cli(verb, bundle, "--device", board, *options) for verb in VERBS)
    assert (estimated.code, estimated.stdout, estimated.stderr) == (0, profiled.stdout, profiled.stderr)
    first, second = (cli(verb, bundle, "--device", board, *options, "--json").document for verb in VERBS)
    assert {**first, "command": "profile"} == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="hw_profile/9"), "expected schema 'hw_profile/1'"),
        (lambda d: d["table"][0].update(median_ms=-1), r"table[0]: its figures cannot be negative"),
        (lambda d: d["table"][0].update(median_ms=float("nan")), "NaN is not a JSON number"),
        (lambda d: d["table"][0].update(median_ms=5e6), "is it in another unit"),
        (lambda d: d["table"][0].update(median_us=5.0), "table[0].median_us: unknown field"),
        (lambda d: d["table"][0].update(kernel="warp"), "unknown kernel 'warp'"),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_estimate_bad_table_exits_with_3(
    cli: Any, board: Path, net: Path, tmp_path: Path, change: Callable[[Any], None], message: str, verb: str
) -> None:
    value = json.loads(board.read_text())
    change(value)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(value))
    result = cli(verb, net, "--device", bad)
    assert (result.code, message in result.stderr) == (3, True), result


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{net}",), 2, "Missing option '--device'"),
        (("{net}", "--device", "host"), 2, "estimates are made from a table, and host is measured"),
        (("{net}", "--device", "ssh://pi@board"), 2, "ssh://pi@board is measured"),
        (("{net}", "--device", "rpi44"), 5, "unknown device 'rpi44'"),
        (("nowhere.eebundle", "--device", "rpi4"), 3, "does not exist"),
        (("{net}", "--device", "rpi4", "--watts", "0"), 2, "--watts"),
        (("{net}", "--device", "rpi4", "--threads", "0"), 2, "--threads"),
        (("{net}", "--device", "rpi4", "-o", "{net}"), 2, "exists already"),
    ],
)
def test_estimate_wrong_arguments_are_refused(
    refused: Any, net: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    refused(code, words, "estimate", *(argument.format(net=net) for argument in arguments))
