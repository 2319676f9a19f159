"""`benchmarks/experiments/search.py`: evaluates the trained networks on the test split, and resumes from its files."""

import json
from pathlib import Path
from typing import Any

from eetool.data.registry import load_source
from eetool.data.splits import TEST, split_source
from tests.helpers.scripts import call_script

SCRIPT = "benchmarks/experiments/search.py"
SPACE = "tests.helpers.small_spaces:mobile"
SMALL = ("--space", SPACE, "--trials", "3", "--seeds", "1", "--supernet-epochs", "1", "--examples", "60")


def objectives(folder: Path) -> list[dict[str, Any]]:
    options = ("--data", "digits", "--folder", folder, *SMALL, "--epochs", 1, "--parts", "objectives")
    rows: list[dict[str, Any]] = json.loads(call_script(SCRIPT, *options))["objectives"]["rows"]
    return rows


def test_search_objectives_evaluates_test_split_and_resumes(tmp_path: Path) -> None:
    rows = objectives(tmp_path)
    n_test = len(split_source(load_source("digits"))[TEST])
    figures = [row[objective] for row in rows for objective in ("latency_ms", "macs") if row[objective]]
    assert figures
    assert {figure["n"] for figure in figures} == {n_test}
    for name in ("aebnas-0", "for-macs-0"):
        kept = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(kept["found"]) == len(kept["tested"]) == 3
        for judged, tested in zip(kept["found"], kept["tested"], strict=True):
            assert judged["figures"]["n"] != tested["figures"]["n"] == n_test
            assert judged["thresholds"] == tested["thresholds"]
            assert tested == json.loads((tmp_path / name / f"{judged['id']}.json").read_text())
    for state in tmp_path.glob("studies.db*"):
        state.unlink()
    assert objectives(tmp_path) == rows  # from the kept results, without a study
