"""A few kills of every command; `kill_commands.py` runs many."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.attacks import kill_commands

_PROGRAM = Path(__file__).with_name("kill_commands.py")
_ROOT = Path(__file__).parents[2]
_PLACES = (".", "runtimes/python", "runtimes/measure")


def test_kill_commands_one_kill_each_finds_nothing() -> None:
    paths = [str(_ROOT / place) for place in _PLACES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(_PROGRAM), "--kills", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"seed", "train", "tune", "export", "search", "report"}
    killed = [actual["killed"] for name, actual in document.items() if name != "seed"]
    assert sum(killed) >= 3  # a run may end before its kill


def test_kill_commands_torn_output_is_reported(tmp_path: Path) -> None:
    command = kill_commands.commands(tmp_path, tmp_path, tmp_path)["report"]
    attack = kill_commands.Attack(command, tmp_path, random.Random(0))
    (tmp_path / "report.html").write_text("<html></html>\n")
    attack.check_outputs("a kill")
    assert attack.faults == []
    (tmp_path / "report.html").write_text("<html></ht")
    attack.check_outputs("a kill")
    assert attack.faults == ["a kill: report.html is torn: ValueError: it has no end"]
