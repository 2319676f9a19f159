"""`eetool profile --device mcu:…` and `eetool export --source`."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from eetool.cli.app import cli
from tests.helpers.int8_cascade import write_int8_cascade
from tests.helpers.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[2]
MCU = ["--device", "mcu:cortex-m7"]

pytest.importorskip("ai_edge_litert")


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def validate(document: Any, name: str) -> None:
    jsonschema.validate(document, json.loads((ROOT / f"eetool/schemas/{name}.schema.json").read_text()))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_int8_cascade(tmp_path)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    document = {"schema": "mcu_cycles/1", "device": "cortex-m7", "conditions": "a board", "clock_mhz": 100}
    cycles = {"seg0": 1000, "exit0": 100, "seg1": 2000, "exit1": 50}
    path = tmp_path / "cycles.json"
    path.write_text(json.dumps({**document, "cycles": cycles, "unsplit": None}))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{bundle}", "--device", "mcu:cortex-m8"], 5, "unknown microcontroller 'cortex-m8'"),
        (["{float}", *MCU], 5, "has no variant tflm/int8, only onnx/fp32"),
        (["{bundle}", *MCU, "--variant", "onnx/fp32"], 2, "does not run on microcontrollers"),
        (["{bundle}", *MCU, "--threads", "2"], 2, "--threads is of a measurement"),
        (["{bundle}", "--max-ram-kb", "128"], 2, "are for microcontrollers"),
        (MCU, 2, "what is to run on cortex-m7?"),
        (["{bundle}", *MCU, "--cycles", "{bundle}/manifest.json"], 3, "expected schema 'mcu_cycles/1'"),
    ],
)
def test_profile_of_a_microcontroller_refuses(
    bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    floats = write_tiny_bundle(tmp_path / "float")
    result = run("profile", *(a.format(bundle=bundle, float=floats) for a in arguments))
    assert result.exit_code == code, result.output
    assert message in result.output


def test_estimate_of_a_microcontroller_names_profile(bundle: Path) -> None:
    result = run("estimate", bundle, *MCU)
    assert result.exit_code == 2
    assert "--device mcu:cortex-m7` tells its memory" in result.output


def test_profile_of_a_microcontroller_has_flash_ram_and_measured_cycles(
    bundle: Path, measured: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tflite_micro")
    result = run("profile", bundle, *MCU, "--cycles", measured, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    validate(document, "mcu_profile-1")
    graphs = sorted((bundle / "components").rglob("*.tflm"))
    assert document["memory"]["graph_bytes"] == sum(path.stat().st_size for path in graphs)
    assert document["cycles_provenance"] == "measured"
    full, balanced, _ = document["points"]
    assert (full["cycles_by_exit"], full["mean_cycles"]) == ([None, 3050], 3050)
    assert (balanced["cycles_by_exit"], balanced["mean_cycles"]) == ([1100, 3150], 0.75 * 1100 + 0.25 * 3150)
    text = run("profile", bundle, *MCU)
    assert text.exit_code == 0, text.output
    assert "cycles: not known" in text.stdout


@pytest.mark.parametrize("joined", [False, True])
def test_profile_of_a_microcontroller_too_large_is_exit_code_6(tmp_path: Path, joined: bool) -> None:
    pytest.importorskip("tflite_micro")
    bundle = write_int8_cascade(tmp_path, joined=joined)
    result = run("profile", bundle, *MCU, "--max-flash-kb", "1", "--max-ram-kb", "1024")
    assert result.exit_code == 6
    assert "KiB of flash, " in result.output
    assert "more than 1" in result.output
    assert "RAM, " not in result.stderr
    assert "seg0" in result.stdout


def test_profile_of_an_ethos_u_is_estimated_by_vela(bundle: Path) -> None:
    pytest.importorskip("tflite_micro")
    pytest.importorskip("ethosu")
    result = run("profile", bundle, "--device", "mcu:ethos-u55-128", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    validate(document, "mcu_profile-1")
    assert document["cycles_provenance"] == document["memory_provenance"] == "estimated"
    assert all(c["cycles"] > 0 for c in document["components"])


def test_export_source_of_a_bundle_writes_a_folder(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    folder = tmp_path / "firmware"
    result = run("export", bundle, "--source", folder)
    assert result.exit_code == 0, result.output
    origin = json.loads((folder / "eetool-source.json").read_text())
    validate(origin, "mcu_source-1")
    assert {path.name for path in (folder / "src").iterdir()} == {
        f"tiny_mcu{suffix}" for suffix in (".h", ".cc", "_data.h", "_data.cc", "_operators.h")
    }
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run("export", bundle, "--source", folder).exit_code == 2
    assert run("export", bundle, "--source", folder, "--force").exit_code == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 3, "is a bundle; export takes"),
        (["--source", "firmware", "--format", "onnx"], 2, "has no use for --format"),
        (["--source", "{bundle}"], 2, "exists already"),
    ],
)
def test_export_source_refuses(bundle: Path, options: list[str], code: int, message: str) -> None:
    result = run("export", bundle, *(option.format(bundle=bundle) for option in options))
    assert result.exit_code == code, result.output
    assert message in result.output
