"""`benchmarks/photo_commands.py`: the order of the commands, and the memory of a process with children."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.helpers.scripts import load_script

ROOT = Path(__file__).parents[2]
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))  # it imports its parts beside it
    return load_script("benchmarks/photo_commands.py")


def settings_of(script: ModuleType, out: Path, **given: Any) -> Any:
    """Settings with every field that is not given null."""
    fields = {field.name: None for field in dataclasses.fields(script.Settings)}
    return script.Settings(**{**fields, "out": out, "side": 224, "epochs": 4, "threads": 1, **given})


@pytest.mark.parametrize("sized", [False, True])
def test_commands_read_what_an_earlier_one_wrote(script: ModuleType, tmp_path: Path, sized: bool) -> None:
    folders = ("sized", "part-sized") if sized else ("photographs", "part")
    written = {tmp_path / name for name in ("start.safetensors", *folders)}
    names = []
    for command in script.commands(settings_of(script, tmp_path, sized=sized, quick=False)):
        read = {Path(str(word).removeprefix("folder:")) for word in command.words if str(tmp_path) in str(word)}
        assert read <= written, command.name
        names.append(command.name)
        if command.output is not None:
            assert tmp_path / command.output not in written
            written.add(tmp_path / command.output)
    assert len(set(names)) == len(names)


def test_table_pairs_commands_and_keeps_other_tables(script: ModuleType, tmp_path: Path) -> None:
    def result(exit_code: int, seconds: float) -> dict[str, Any]:
        return {"exit_code": exit_code, "seconds": seconds, "all_processes_mb": round(100 * seconds)}

    before = {
        "photographs": 300,
        "commands": {"tune": result(0, 8.0), "bench": result(7, 3.0), "advise": result(2, 0.1)},
    }
    now = {"photographs": 300, "commands": {name: result(0, 2.0) for name in ("tune", "bench", "advise")}}
    file = tmp_path / "tables.json"
    for photographs in (300, 1687):
        script.write_table(before, {**now, "photographs": photographs}, file)
    tables = json.loads(file.read_text(encoding="utf-8"))["tables"]
    assert sorted(tables) == ["photographs-1687", "photographs-300"]
    assert [row["cells"] for row in tables["photographs-300"]["rows"]] == [
        ["tune", 8.0, 2.0, 0.25, 800, 200],
        ["bench", 3.0, 2.0, 0.67, 300, 200],
        ["advise", None, 2.0, None, None, 200],  # a command that the other version did not have
    ]


@needs_proc
def test_memory_samples_add_up_the_children_of_a_command(script: ModuleType) -> None:
    grandchild = "x = bytearray(b'1') * 40_000_000; print('ready', flush=True); input()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        processes = script.descendants(child.pid)
        memory = [script.memory_bytes(pid) for pid in processes]
        child.communicate(b"\n")
    assert len(processes) == 2
    assert sum(anonymous for _, anonymous in memory) > 40_000_000
    assert all(resident >= anonymous for resident, anonymous in memory)
    assert script.memory_bytes(child.pid) == (0, 0)
