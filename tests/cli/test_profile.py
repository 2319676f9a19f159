"""`eetool profile` and `eetool devices`."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from eetool.cli.app import cli
from tests.helpers.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[2]
QUICK_PROFILE = ["--threads", "1", "--runs", "10", "--min-seconds", "0"]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def schema(name: str) -> Any:
    return json.loads((ROOT / f"eetool/schemas/{name}.schema.json").read_text())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path)


def test_profile_bundle_writes_measurement(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "profile.json"
    result = run("profile", bundle, *QUICK_PROFILE, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert "seg0" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    document = json.loads(out.read_text())
    jsonschema.validate(document, schema("profile-1"))
    assert (document["device"], document["threads"]) == ("host", 1)
    assert run("profile", bundle, *QUICK_PROFILE, "-o", out).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.eebundle"], 3, "does not exist"),
        (["{bundle}", "--variant", "onnx/int8"], 2, "has no variant"),
        (["{bundle}", "--threads", "0"], 2, "--threads"),
        (["{bundle}", "--min-seconds", "nan"], 2, "--min-seconds"),
        (["{text}"], 5, "this machine has no latency table yet"),
        (["{text}", "--device", "nowhere.json"], 3, "nowhere.json: does not exist"),
        (["--device", "rpi44"], 5, "unknown device 'rpi44'"),
        (["{bundle}", "--device", "rpi44"], 5, "unknown device 'rpi44'"),
        (["--device", "ssh://pi@board"], 2, "what is to be measured there?"),
        (["{bundle}", "--device", "ssh://pi@-oProxyCommand=x"], 2, "is no address of a device"),
    ],
)
def test_profile_wrong_arguments_are_refused(
    bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "model.pt").write_text("")
    result = run("profile", *(a.format(bundle=bundle, text=tmp_path / "model.pt") for a in arguments))
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_profile_without_input_describes_machine() -> None:
    result = run("profile", "--json")
    assert json.loads(result.stdout)["machine"]["cores"] >= 1
    assert "cores: " in run("profile").stdout


def test_devices_lists_this_machine() -> None:
    assert "host" in run("devices").stdout
    document = json.loads(run("devices", "--json").stdout)
    assert document["machine"]["cores"] >= 1
    assert isinstance(document["devices"], list)


def test_profile_on_another_board_is_refused(bundle: Path, some_board: None) -> None:
    result = run("profile", bundle, "--device", "board1")
    assert result.exit_code == 5
    assert "this machine is no board1" in result.stderr
    assert "eetool_measure" in result.stderr


def test_profile_device_without_input_prints_hw_profile(some_board: None) -> None:
    result = run("profile", "--device", "first-board")
    assert result.exit_code == 0, result.stderr
    for words in ("Board One", "2.5 W", "whole board", "A paper", "latency table: empty"):
        assert words in result.stdout
    document = json.loads(run("profile", "--device", "board1", "--json").stdout)
    assert document["schema"] == "hw_profile/1"
    jsonschema.validate(
        {k: v for k, v in document.items() if k not in ("eetool", "command", "ok")}, schema("hw_profile-1")
    )
    assert "board1" in run("devices").stdout


@pytest.fixture
def some_board(monkeypatch: pytest.MonkeyPatch) -> None:
    from eetool.latency.table import hw_profile

    board = hw_profile.HwProfile(
        name="board1",
        title="Board One",
        aliases=("first-board",),
        facts=hw_profile.DeviceFacts("SoC", "Cortex-A72", 4, 1500, ("armv8-a",), (1024,)),
        power=(hw_profile.PublishedPower("idle", 2.5, "board_gross", "measured", "paper"),),
        table=(),
        sources=(hw_profile.FigureSource("paper", "A paper", "CC-BY-4.0"),),
    )
    monkeypatch.setattr(hw_profile, "known_devices", lambda: (board,))


def test_profile_sustained_reports_duration(bundle: Path) -> None:
    result = run("profile", bundle, *QUICK_PROFILE, "--sustained", "0.2s", "--accept-unstable")
    assert result.exit_code == 0
    assert "Called for 0.2 s at " in result.stdout
    for bad in ("0s", "soon", "-1m", "1d"):
        assert run("profile", bundle, *QUICK_PROFILE, "--sustained", bad).exit_code == 2
    assert run("profile", bundle, "--device", "rpi4", "--sustained", "1s").exit_code == 2
