"""`eetool profile`, `bench` and `devices` as a user meets them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from eetool.cli.app import cli
from eetool.data.source import Source
from eetool.data.splits import split_record
from eetool.errors import UsageError
from eetool_runtime.manifest import Data
from tests.helpers.tiny_graphs import CLASSES
from tests.helpers.tiny_bundle import LABELS, pixels, write_tiny_bundle

ROOT = Path(__file__).parents[2]
QUICK_BENCH = ["--passes", "2", "--min-seconds", "0", "--threads", "1"]
QUICK_PROFILE = ["--threads", "1", "--runs", "10", "--min-seconds", "0"]
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

    def load_source(name: str, progress: object = None) -> Source:
        if name != "tiny":
            raise UsageError(f"unknown data source {name!r}", "Known sources: tiny.")
        pairs = [(label, contrast) for contrast in np.linspace(0.25, 4, 16) for label in range(CLASSES)]
        images = np.stack([pixels(*pair)[None] for pair in pairs])
        return Source("tiny", images, np.array([label for label, _ in pairs], np.int64), LABELS, mirror=False)

    monkeypatch.setattr("eetool.data.registry.load_source", load_source)
    monkeypatch.setattr("eetool.data.splits.split_source", lambda source, hold_out: {"test": INDICES})


def test_bench_ends_in_the_verdict(bundle: Path) -> None:
    result = run("bench", bundle, "--data", "tiny", *QUICK_BENCH)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.rstrip().splitlines()
    assert lines[0] == "tiny onnx/fp32, 64 examples of tiny, batch 1, 1 thread, 2 passes"
    assert lines[-1].startswith("Early exit ")
    for name in ("unsplit", "full", "balanced", "fast"):
        assert any(line.strip().startswith(name) for line in lines)
    assert max(len(line) for line in lines[:-1]) <= 80


def test_bench_prints_and_writes_one_document(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    net = bundle / "reference/unsplit/onnx-fp32/model.onnx"
    result = run("bench", bundle, "--data", "tiny", "--against", net, *QUICK_BENCH, "--json", "-o", out)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document == json.loads(out.read_text())
    jsonschema.validate(document, schema("bench-1"))
    assert [p["name"] for p in document["points"]] == ["unsplit", "full", "balanced", "fast", "model.onnx"]
    again = run("bench", bundle, "--data", "tiny", *QUICK_BENCH, "-o", out)
    assert (again.exit_code, "--force" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.eebundle", "--data", "tiny"], 3, "does not exist"),
        (["{bundle}", "--data", "cifar"], 2, "unknown data source"),
        (["{bundle}"], 2, "--data"),
        (["{bundle}", "--data", "tiny", "--variant", "tflite/int8"], 2, "has no variant"),
        (["{bundle}", "--data", "tiny", "--operating-point", "slow"], 2, "unknown operating point"),
        (["{bundle}", "--data", "tiny", "--against", "nothing.onnx"], 3, "does not exist"),
        (["{bundle}", "--data", "tiny", "--against", "{text}"], 3, "cannot load this graph"),
        (["{bundle}", "--data", "tiny", "--against", "{stripped}"], 3, "no reference/unsplit"),
        (["{stripped}", "--data", "tiny"], 3, "no reference/unsplit"),
        (["{other_split}", "--data", "tiny"], 3, "split of 'tiny' is not the one"),
        (["{bundle}", "--data", "tiny", "-o", "{missing_folder}/x.json"], 2, "is not a folder"),
    ],
)
def test_bench_says_what_is_wrong(bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
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


def test_profile_measures_a_bundle(bundle: Path, tmp_path: Path) -> None:
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
        (["{text}", "--device", "nowhere.json"], 3, "nowhere.json: cannot be read"),
        (["--device", "rpi44"], 5, "unknown device 'rpi44'"),
        (["{bundle}", "--device", "rpi44"], 5, "unknown device 'rpi44'"),
        (["--device", "ssh://pi@board"], 2, "what is to be measured there?"),
        (["{bundle}", "--device", "ssh://pi@-oProxyCommand=x"], 2, "is no address of a device"),
    ],
)
def test_profile_says_what_is_wrong(
    bundle: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "model.pt").write_text("")
    result = run("profile", *(a.format(bundle=bundle, text=tmp_path / "model.pt") for a in arguments))
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_profile_of_this_machine() -> None:
    result = run("profile", "--json")
    assert json.loads(result.stdout)["machine"]["cores"] >= 1
    assert "cores: " in run("profile").stdout


def test_devices_begins_with_this_machine() -> None:
    assert "host" in run("devices").stdout
    document = json.loads(run("devices", "--json").stdout)
    assert document["machine"]["cores"] >= 1
    assert isinstance(document["devices"], list)


def test_a_time_measured_here_is_never_called_by_another_name(bundle: Path, some_board: None) -> None:
    result = run("profile", bundle, "--device", "board1")
    assert result.exit_code == 5
    assert "this machine is no board1" in result.stderr
    assert "eetool_measure" in result.stderr


def test_what_is_known_of_a_board(some_board: None) -> None:
    result = run("profile", "--device", "first-board")
    assert result.exit_code == 0, result.stderr
    for said in ("Board One", "2.5 W", "board_gross", "A paper", "latency table: empty"):
        assert said in result.stdout
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


def test_profile_for_as_long_as_asked_for(bundle: Path) -> None:
    result = run("profile", bundle, *QUICK_PROFILE, "--sustained", "0.2s", "--accept-unstable")
    assert result.exit_code == 0
    assert "Called for 0.2 s at " in result.stdout
    for bad in ("0s", "soon", "-1m", "1d"):
        assert run("profile", bundle, *QUICK_PROFILE, "--sustained", bad).exit_code == 2
    assert run("profile", bundle, "--device", "rpi4", "--sustained", "1s").exit_code == 2
