"""`eetool estimate`, and `eetool profile MODEL --device NAME`, its earlier spelling."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from eetool.export.bundle_files import GOALS, GOALS_SCHEMA
from eetool.export.expected_drops import DROPS, DROPS_SCHEMA
from eetool.latency.table.hw_profile import profile_document
from eetool.model.goals import CostSource, TuningGoals
from eetool.model.spec import ExpectedDrop
from eetool.records import canonical, encode
from tests.helpers.latency_tables import ENTRIES, profile, table
from tests.helpers.onnx_graphs import NETWORK, model, save
from tests.helpers.tiny_bundle import replace_file, write_tiny_bundle

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
    jsonschema.validate(written, json.loads((SCHEMAS / "predict-2.schema.json").read_text()))
    assert (written["provenance"], written["graphs"][0]["energy_mj"]["value"]) == ("predicted", None)
    assert written["command"] == verb
    assert cli(verb, net, "--device", board, "-o", out).code == 2


def test_estimate_bundle_against_networks_ends_with_verdict(cli: Any, board: Path, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path)
    small = save(model(NETWORK), tmp_path / "small.onnx")
    document = cli("estimate", bundle, "--device", board, "--against", small, "--against", bundle, "--json").document
    jsonschema.validate(document, json.loads((SCHEMAS / "predict-2.schema.json").read_text()))
    rows = document["comparison"]["rows"]
    assert [row["role"] for row in rows] == ["unsplit", *["operating_point"] * 3, "rival", "rival"]
    assert [row["name"] for row in rows][-2:] == ["small.onnx", bundle.name]
    assert rows[-1]["latency_ms"] == rows[0]["latency_ms"]
    verdict = document["comparison"]["verdict"]
    assert verdict["way"] == "balanced"
    assert " on board: " in verdict["text"]
    shown = cli("estimate", bundle, "--device", board, "--against", small)
    assert "coverage: the table has figures of" in shown.stdout
    other_rank = '<ir_version: 8, opset_import: ["" : 18]> g (float[1,4] x) => (float[n] y) { y = Relu (x) }'
    flat = save(model(other_rank), tmp_path / "flat.onnx")
    refused = cli("estimate", bundle, "--device", board, "--against", flat)
    assert (refused.code, "flat.onnx: takes inputs of 4, and" in refused.stderr) == (3, True), refused


def test_estimate_verdict_has_the_interval_that_tune_recorded(cli: Any, board: Path, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path)
    before = cli("estimate", bundle, "--device", board, "--json").document["comparison"]["verdict"]
    assert before["accuracy_difference_ci95"] == []
    drops = {name: ExpectedDrop(0.5, (-2.0, 3.0), 0.1) for name in ("balanced", "fast")}
    document = canonical({"schema": DROPS_SCHEMA, "variants": encode({"onnx/fp32": drops})})
    replace_file(bundle, DROPS, document.encode())
    after = cli("estimate", bundle, "--device", board, "--json").document["comparison"]["verdict"]
    assert (after["way"], after["accuracy_difference_ci95"]) == ("balanced", [-3.0, 2.0])


@pytest.mark.parametrize(
    ("tuned", "device", "chosen", "warned"),
    [
        ("onnx/int8", "board", "onnx/int8", False),
        ("onnx/fp32", "board", "onnx/fp32", False),
        ("onnx/int8", "rpi4", "onnx/fp32", False),
        ("tflite/fp32", "board", "onnx/fp32", True),
    ],
)
def test_estimate_prefers_the_variant_that_was_tuned_for_the_device(
    cli: Any, tmp_path: Path, tuned: str, device: str, chosen: str, warned: bool
) -> None:
    both = (*ENTRIES, *(dataclasses.replace(entry, precision="int8") for entry in ENTRIES))
    board = tmp_path / "board.json"
    board.write_text(canonical({"schema": "hw_profile/1", **profile_document(profile(table(entries=both)))}))

    def add_int8(document: Any) -> None:
        document["variants"]["onnx/int8"] = document["variants"]["onnx/fp32"]

    bundle = write_tiny_bundle(tmp_path, edit=add_int8)
    goals = TuningGoals(1.0, costs=CostSource(device, "latency_ms", "hw_profile_file", tuned))
    replace_file(bundle, GOALS, canonical({"schema": GOALS_SCHEMA, **encode(vars(goals))}).encode())
    document = cli("estimate", bundle, "--device", board, "--json").document
    assert document["variant"] == chosen
    assert any("the model was tuned for tflite/fp32 on board" in line for line in document["warnings"]) == warned


def test_estimate_int8_without_int8_table_has_no_figures(cli: Any, board: Path, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,4,8,8] x) => (float[n] y) { q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }"""
    net = save(model(text, s=np.float32(0.1), z=np.int8(0)), tmp_path / "int8.onnx")
    document = cli("estimate", net, "--device", board, "--json").document
    assert (document["graphs"], document["comparison"]) == ([], None)
    assert "board has no int8 table" in document["reason"]
    bundle = write_tiny_bundle(tmp_path)
    document = cli("estimate", bundle, "--device", board, "--against", net, "--json").document
    rival = document["comparison"]["rows"][-1]
    assert (rival["latency_ms"], "no int8 table" in rival["reason"]) == (None, True)
    assert document["comparison"]["verdict"]["pays"] is not True


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


def priced(cli: Any, net: Path, board: Path) -> Any:
    return cli("estimate", net, "--device", board, "--json").document


@pytest.mark.parametrize("verb", VERBS)
def test_estimate_fixed_batch_is_shown_and_counted(cli: Any, board: Path, tmp_path: Path, verb: str) -> None:
    nets = [save(model(NETWORK.replace("[batch,", f"[{n},")), tmp_path / f"net{n}.onnx") for n in (1, 8)]
    one, eight = (priced(cli, net, board) for net in nets)
    assert (one["batch"], eight["batch"]) == (1, 8)
    assert eight["graphs"][0]["macs"] == 8 * one["graphs"][0]["macs"]
    assert eight["graphs"][0]["latency_ms"] > 5 * one["graphs"][0]["latency_ms"]  # the dispatch is paid once
    shown = cli(verb, nets[1], "--device", board).stdout
    assert ", batch 8\n" in shown
    assert "warning: the table is of one example per call, so images cost 8 times as much" in shown


def test_estimate_inputs_of_different_batch_are_shown(cli: Any, board: Path, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[batch,4] x, float[8,4] t) => (float[n] y) { y = Gemm <transB=1> (x, t) }"""
    document = priced(cli, save(model(text), tmp_path / "net.onnx"), board)
    assert document["graphs"][0]["macs"] == 32
    assert (
        "the first sizes of the inputs differ (x 1, t 8); everything is counted at these sizes" in document["warnings"]
    )


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
@pytest.mark.parametrize("verb", VERBS)
def test_estimate_other_float_formats_are_refused(
    refused: Any, board: Path, tmp_path: Path, dtype: str, verb: str
) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 22]>
    g ({dtype}[1,4,8,8] x, {dtype}[4,4,3,3] w) => ({dtype}[n] y) {{ y = Conv (x, w) }}"""
    net = save(model(text), tmp_path / "net.onnx")
    words = f"net.onnx: computes in {dtype} (operator 'y'), and tables are of float32 and int8 alone"
    refused(3, words, verb, net, "--device", board)


def test_estimate_stored_halves_that_are_computed_in_float32_are_priced(cli: Any, board: Path, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,4] x) => (float[n] y) { w = Cast <to = 1> (h) y = MatMul (x, w) }"""
    document = priced(cli, save(model(text, h=np.ones((4, 5), np.float16)), tmp_path / "net.onnx"), board)
    assert document["graphs"][0]["macs"] == 20


def beside(folder: Path) -> Path:
    """Write the network with all tensors, sizes included, in a file beside it."""
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[batch,4,8,8] x) => (float[n] y) { r = Reshape (x, s) y = MatMul (r, w) }"""
    net = model(text, {"w": (256, 5)}, s=np.array([-1, 256]))
    onnx.save(net, str(folder / "net.onnx"), save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return folder / "net.onnx"


@pytest.mark.parametrize("verb", VERBS)
def test_estimate_weights_in_a_file_beside_it_are_accepted(
    cli: Any, refused: Any, board: Path, tmp_path: Path, verb: str
) -> None:
    net = beside(tmp_path)
    assert priced(cli, net, board)["graphs"][0]["macs"] == 256 * 5
    (tmp_path / "net.onnx.data").unlink()
    refused(3, "its weights lie in 'net.onnx.data', which is missing in that folder", verb, net, "--device", board)
