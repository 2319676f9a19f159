"""`benchmarks/search.py` tests the networks that a search has trained, and keeps what it has found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from eetool.data.registry import load_source
from eetool.data.splits import TEST, split_source

SCRIPT = Path(__file__).parents[2] / "benchmarks/search.py"
LITTLE = ("--space", "resnet", "--trials", "3", "--seeds", "1", "--supernet-epochs", "1", "--examples", "60")


def objectives(folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, str(SCRIPT), "--data", "digits", "--folder", str(folder), *LITTLE, "--epochs", "1"]
    ended = subprocess.run([*command, "--parts", "objectives"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows: list[dict[str, Any]] = json.loads(ended.stdout)["objectives"]["rows"]
    return rows


def test_the_networks_of_a_search_are_tested(tmp_path: Path) -> None:
    rows = objectives(tmp_path)
    n_test = len(split_source(load_source("digits"))[TEST])
    told = [row[objective] for row in rows for objective in ("latency_ms", "macs") if row[objective]]
    assert told
    assert {figures["n"] for figures in told} == {n_test}
    for name in ("aebnas-0", "for-macs-0"):
        kept = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(kept["found"]) == len(kept["tested"]) == 3
        for judged, tested in zip(kept["found"], kept["tested"], strict=True):
            assert judged["figures"]["n"] != tested["figures"]["n"] == n_test
            assert judged["thresholds"] == tested["thresholds"]
            assert tested == json.loads((tmp_path / name / f"{judged['id']}.json").read_text())
    for state in tmp_path.glob("studies.db*"):
        state.unlink()
    assert objectives(tmp_path) == rows  # from what is kept, without a study
