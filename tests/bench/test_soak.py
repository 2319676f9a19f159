"""`benchmarks/soak.py` prints what it promises, and notices an answer that changed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import write_tiny_bundle

import eetool_runtime as ee

SCRIPT = Path(__file__).parents[2] / "benchmarks/soak.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_one_document(tmp_path: Path) -> None:
    few = ("--calls", "500", "--threads", "3", "--calls-per-thread", "100", "--minutes", "0.02")
    ended = run(str(write_tiny_bundle(tmp_path)), *few)
    document = json.loads(ended.stdout)
    assert document["schema"] == "soak/1"
    assert document["changed_answers"] == document["changed_answers_with_threads"] == 0
    assert document["calls_missing_in_stats"] == 0
    assert document["mixed_problems"] == []
    assert set(document["mixed_calls"]) == {"call", "limited", "batch", "every_exit", "use", "stats", "prometheus"}
    assert min(document["exit_counts"]) > 0
    assert document["resident_bytes_settled"] > 1 << 20


def test_an_answer_that_changes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    model = ee.load(write_tiny_bundle(tmp_path))
    soak = importlib.import_module("soak").Soak(model)
    assert soak.calls(32) == soak.calls_at_once(2, 16) == 0
    model.use("full")
    assert soak.calls(32) == soak.calls_at_once(2, 16) > 0


def test_a_call_that_fails_beside_others_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    model = ee.load(write_tiny_bundle(tmp_path))
    x = model.bundle.arrays(model.bundle.manifest.samples)
    mixture = importlib.import_module("soak").Mixture(model, [{name: array[:1] for name, array in x.items()}])
    monkeypatch.setattr(model, "stats", lambda: {"exit_counts": [1], "operating_point": "full", "operating_points": {}})
    mixture.run(2, 60)  # ends at once, as the first problem ends each thread
    assert len(mixture.problems) == 2
    assert all("KeyError" in problem for problem in mixture.problems)  # of stats, or of prometheus, which reads them


def test_a_bundle_that_is_none(tmp_path: Path) -> None:
    ended = run(str(tmp_path))
    assert ended.returncode == 3
    assert ended.stderr.startswith("error: manifest.json")
