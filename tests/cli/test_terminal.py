"""What a terminal gets: loudness, completion, and nothing that has to be waited for."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def completions(folder: Path, *words: str) -> list[str]:
    """What bash would be told when Tab is pressed behind the last word."""
    environment = {
        **os.environ,
        "_EETOOL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("eetool", *words)),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = "from eetool.cli import main; main(prog_name='eetool')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_the_shell_completes_verbs_options_devices_and_bundles(tmp_path: Path) -> None:
    (tmp_path / "mine.eebundle").mkdir()
    (tmp_path / "model.pt").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "board.json").touch()
    assert completions(tmp_path, "ve") == ["verify"]
    assert "--max-accuracy-drop" in completions(tmp_path, "bench", "--max")
    assert completions(tmp_path, "profile", "--device", "rpi") == ["rpi-zero2w", "rpi3", "rpi4", "rpi5"]
    assert completions(tmp_path, "profile", "--device", "") == [
        *("host", "ssh://", "pixel3", "rpi-zero2w", "rpi3", "rpi4", "rpi5", "board.json"),
    ]
    assert completions(tmp_path, "verify", "m") == ["mine.eebundle"]
    assert completions(tmp_path, "inspect", "m") == ["mine.eebundle", "model.pt"]
    assert completions(tmp_path, "verify", "n") == ["n"]  # no bundle: the shell goes on with files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(cli: Any, shell: str) -> None:
    answered = cli("completion", shell)
    assert answered.code == 0
    assert f"_EETOOL_COMPLETE={shell}_complete" in answered.stdout


def test_quiet_says_nothing_and_verbose_says_how_long(cli: Any, bundle: Path) -> None:
    assert cli("verify", bundle).stderr == ""
    assert cli("verify", bundle, "--verbose").stderr.startswith("variants: 1 in ")
    assert cli("verify", bundle, "--quiet").stderr == ""
    assert cli("verify", "nowhere", "--quiet").stderr.startswith("error: ")
    assert cli("verify", bundle, "-q", "-v").code == 2


def test_quiet_keeps_warnings_to_itself(cli: Any, trained: Path, tmp_path: Path) -> None:
    options = ("--layout", "single", "--no-simplify", "-o")
    assert "never tuned" in cli("export", trained, *options, tmp_path / "a.onnx").stderr
    assert cli("export", trained, *options, tmp_path / "b.onnx", "--quiet").stderr == ""


def test_help_waits_for_nothing() -> None:
    program = """
import sys
from eetool.cli import main
try:
    main(["--help"])
except SystemExit as exit:
    assert exit.code == 0
print(*({"numpy", "torch", "rich", "eetool_runtime"} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stderr.split() == []
