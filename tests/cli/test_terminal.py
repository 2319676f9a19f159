"""Loudness, completion and width on a terminal."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from eetool.bench.benchmark import Bench
from eetool.cli import output
from eetool.cli.bench_output import bench_table
from eetool.cli.profile_output import profile_text
from eetool.cli.search_output import search_result
from eetool.profile.profiler import Profile
from eetool.records import read_record
from eetool.search.search_results import read_front

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"


def completions(folder: Path, *words: str) -> list[str]:
    """Completions that bash gets for the last word."""
    environment = {
        **os.environ,
        "_EETOOL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("eetool", *words)),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = "from eetool.cli.app import main; main(prog_name='eetool')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion_offers_verbs_options_devices_and_bundles(tmp_path: Path) -> None:
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
    assert completions(tmp_path, "estimate", "--device", "rpi") == ["rpi-zero2w", "rpi3", "rpi4", "rpi5"]
    assert completions(tmp_path, "table", "show", "b") == ["board.json"]
    assert completions(tmp_path, "table", "b") == ["build"]
    assert completions(tmp_path, "verify", "m") == ["mine.eebundle"]
    assert completions(tmp_path, "inspect", "m") == ["mine.eebundle", "model.pt"]
    assert completions(tmp_path, "verify", "n") == ["n"]  # no bundle: the shell goes on with files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_script_of_every_shell(cli: Any, shell: str) -> None:
    result = cli("completion", shell)
    assert result.code == 0
    assert f"_EETOOL_COMPLETE={shell}_complete" in result.stdout


def test_quiet_prints_nothing_and_verbose_prints_durations(cli: Any, bundle: Path) -> None:
    assert cli("verify", bundle).stderr == ""
    assert cli("verify", bundle, "--verbose").stderr.startswith("variants: 1 in ")
    assert cli("verify", bundle, "--quiet").stderr == ""
    assert cli("verify", "nowhere", "--quiet").stderr.startswith("error: ")
    assert cli("verify", bundle, "-q", "-v").code == 2


def test_quiet_suppresses_warnings(cli: Any, trained: Path, tmp_path: Path) -> None:
    options = ("--layout", "single", "--no-simplify", "-o")
    assert "never tuned" in cli("export", trained, *options, tmp_path / "a.onnx").stderr
    assert cli("export", trained, *options, tmp_path / "b.onnx", "--quiet").stderr == ""


def test_help_imports_no_numpy() -> None:
    """The help of eetool and of every verb."""
    program = """
import sys
from eetool.cli.app import VERBS, main
for words in ([], *([verb] for verb in VERBS)):
    try:
        main([*words, "--help"])
    except SystemExit as exit:
        assert exit.code == 0
    print(*({"numpy", "torch", "rich", "eetool_runtime", "eetool_measure"} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stderr.split() == []


def tables(monkeypatch: pytest.MonkeyPatch, act: Any) -> list[Any]:
    """Rich tables that are printed while `act` runs."""
    shown: list[Any] = []
    monkeypatch.setattr(
        output, "print_lines", lambda text: shown.extend(item for item in text if not isinstance(item, str))
    )
    act()
    return shown


def width(table: Any) -> int:
    """Columns of the terminal that a table takes without folding a cell."""
    wide = io.StringIO()
    Console(file=wide, width=1000).print(table)
    return max(len(line.rstrip()) for line in wide.getvalue().splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("devices",),
        ("devices", "rpi5"),
        ("inspect", "bundle"),
        ("inspect", "trained"),
        ("profile", "bundle", "--device", "rpi4"),
        ("profile", "bundle", "--device", "rpi5"),
        ("estimate", "bundle", "--device", "rpi5"),
        ("table", "show", "rpi5"),
    ],
    ids=" ".join,
)
def test_tables_of_commands_fit_80_columns(
    arguments: tuple[str, ...], cli: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    words = [request.getfixturevalue(w) if w in ("bundle", "trained") else w for w in arguments]
    shown = tables(monkeypatch, lambda: cli(*words))
    assert shown
    assert [width(table) for table in shown if width(table) > 80] == []


def test_tables_of_measurements_fit_80_columns() -> None:
    bench = read_record(Bench, GOLDEN / "bench-2.json", "bench/2")
    profile = read_record(Profile, GOLDEN / "profile-1.json", "profile/1")
    result = search_result(read_front(GOLDEN / "search-1.json"), 12, 12)
    texts = (*profile_text(profile), *result.text)
    shown = [bench_table(bench), *(item for item in texts if not isinstance(item, str))]
    assert len(shown) >= 6
    assert max(width(table) for table in shown) <= 80


def test_tune_verbose_prints_progress(cli: Any, trained: Path, tmp_path: Path) -> None:
    result = cli("tune", trained, "--data", "digits", "-o", tmp_path / "t.pt", "--verbose").stderr
    assert "answers, threshold split: " in result
