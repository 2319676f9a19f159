"""`benchmarks/overhead.py` prints what it promises; how long things take is not tested."""

import json
import subprocess
import sys
from pathlib import Path

from tiny import write_tiny_bundle

SCRIPT = Path(__file__).parents[2] / "benchmarks/overhead.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_document_for_one_and_two_threads(tmp_path: Path) -> None:
    ended = run(str(write_tiny_bundle(tmp_path)), "--runs", "10", "--min-seconds", "0")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert [t["threads"] for t in document["threads"]] == [1, 2]
    for times in document["threads"]:
        for name in ("unsplit_ms", "all_exits_ms", "components_sum_ms", "cascade_full_depth_ms"):
            assert times[name] > 0
        assert [at["exit"] for at in times["exits"]] == [0, 1, 2]
        for at in times["exits"]:
            low, high = at["ratio"]["ci95"]
            assert low <= at["ratio"]["median"] <= high
        assert set(times["dispatch_us_per_component"]) == {"split", "runtime"}


def test_a_bundle_that_is_not_there() -> None:
    ended = run("nothing.eebundle")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("error: ")
