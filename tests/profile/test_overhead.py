"""`benchmarks/overhead.py` prints what it promises; how long things take is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import write_tiny_bundle

SCRIPT = Path(__file__).parents[2] / "benchmarks/overhead.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_document_for_one_and_two_threads(tmp_path: Path) -> None:
    ended = run(str(write_tiny_bundle(tmp_path)), "--runs", "10", "--min-seconds", "0", "--processes", "2")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert [t["threads"] for t in document["threads"]] == [1, 2]
    for found in document["threads"]:
        ms = {name: figure["median"] for name, figure in found["ms"].items()}
        parts = [ms[f"component {name}"] for name in ("seg0", "exit0", "seg1", "exit1", "exit2")]
        assert ms["sum"] == pytest.approx(sum(parts), rel=0.5)  # medians of sums are not sums of medians
        assert {"in_turn", "exit 2", "full", "reference unsplit", "reference all_exits"} < set(ms)
        assert {"least 0", "least 1", "least 2"} < set(ms)
        ratios = {name: figure["processes"] for name, figure in found["ratios"].items()}
        both = ratios["both: cascade / all exits"]
        for below, above in (
            ("split: in turn / all exits", "runtime: cascade / in turn"),
            ("least: checked, handed over, in turn / all exits", "runtime: cascade / least"),
        ):
            for one, two, all_of_it in zip(ratios[below], ratios[above], both, strict=True):
                assert one * two == pytest.approx(all_of_it, rel=0.5)
        assert [at["exit"] for at in found["exits"]] == [0, 1, 2]
        for at in found["exits"]:
            low, high = sorted(at["cascade / components alone"]["processes"])
            assert low <= at["cascade / components alone"]["median"] <= high


def test_a_bundle_that_is_not_there() -> None:
    ended = run("nothing.eebundle")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("error: ")


def test_a_child_that_fails_ends_it(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path)
    (path / "components/exit2/onnx-fp32/model.onnx").unlink()
    ended = run(str(path), "--runs", "10", "--min-seconds", "0", "--processes", "1")
    assert (ended.returncode, ended.stdout) == (3, "")
