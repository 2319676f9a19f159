"""`examples/photos/README.md`: its commands, made smaller, end in verdicts for this machine and the Raspberry Pi."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/photos"
# In the test; the README's own numbers take minutes.
SMALLER = {
    "draw.py photos": "draw.py photos --count 40",
    "3x96x96": "3x48x48",
    "photos@96": "photos@48",
    "--epochs 12": "--epochs 8",
    "--epochs 6": "--epochs 1",
    "advise network:make": "advise network:make --epochs 1",
    "--precision fp32 --precision int8": "--no-simplify",
    "--max-accuracy-drop 2": "--max-accuracy-drop 50",
    "-o bench.json": "-o bench.json --passes 1 --min-seconds 0 --accept-unstable",
}


def commands() -> list[str]:
    """Commands of the README, made smaller."""
    (block,) = re.findall(r"^```sh\n(.*?)^```$", (EXAMPLE / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    lines = block.splitlines()
    for words, smaller in SMALLER.items():
        assert words in block, f"the README has no longer {words!r}"
        lines = [line.replace(words, smaller) for line in lines]
    return lines


def test_photos_example_goes_from_photographs_to_a_verdict_for_the_device(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = commands()
    assert len(lines) <= 10
    shutil.copytree(EXAMPLE, tmp_path / "photos-example")
    monkeypatch.chdir(tmp_path / "photos-example")
    monkeypatch.delitem(sys.modules, "network", raising=False)
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "python":
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        else:
            result = cli(*arguments)
            assert result.code == 0, f"{line}\n{result}"
    monkeypatch.delitem(sys.modules, "network", raising=False)
    bench, device = (json.loads(Path(name).read_text()) for name in ("bench.json", "rpi4.json"))
    assert bench["verdict"]["text"]
    assert device["device"] == "rpi4"
    assert "rpi4" in device["comparison"]["verdict"]["text"]
    assert Path("signs.html").stat().st_size > 100_000
