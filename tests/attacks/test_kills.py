"""A kill of every command at its output; `kill_commands.py` also kills at random moments, and often."""

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


def test_kill_commands_one_kill_at_each_output_finds_nothing(trained: Path, tuned: Path, bundle: Path) -> None:
    paths = [str(_ROOT / place) for place in _PLACES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(_PROGRAM), "--inputs", *map(str, (trained, tuned, bundle)), "--at-output"]
    command += ["--kills", "1", "--only", "tune"]  # and one at a random moment
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    killed = {name: actual["killed"] for name, actual in document.items() if name != "seed"}
    tune = killed.pop("tune")
    assert killed == dict.fromkeys(("train", "export", "search", "report"), 1)
    assert tune >= 1  # a run may end before its random kill


def test_kill_commands_torn_output_is_reported(tmp_path: Path) -> None:
    command = kill_commands.commands(tmp_path, tmp_path, tmp_path)["report"]
    attack = kill_commands.Attack(command, tmp_path, random.Random(0))
    (tmp_path / "report.html").write_text("<html></html>\n")
    attack.check_outputs("a kill")
    assert attack.faults == []
    (tmp_path / "report.html").write_text("<html></ht")
    attack.check_outputs("a kill")
    assert attack.faults == ["a kill: report.html is torn: ValueError: it has no end"]
