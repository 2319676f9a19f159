"""`benchmarks/runtime/soak.py`: its document, and changed results."""

import json
from pathlib import Path

import pytest

import eetool_runtime as ee
from tests.helpers.scripts import load_script, run_script
from tests.helpers.tiny_bundle import write_tiny_bundle

SCRIPT = "benchmarks/runtime/soak.py"


def test_soak_tiny_bundle_prints_document(tmp_path: Path) -> None:
    few = ("--calls", "500", "--threads", "3", "--calls-per-thread", "100", "--minutes", "0.02")
    ended = run_script(SCRIPT, write_tiny_bundle(tmp_path), *few)
    document = json.loads(ended.stdout)
    assert document["schema"] == "soak/1"
    assert document["changed_answers"] == document["changed_answers_with_threads"] == 0
    assert document["calls_missing_in_stats"] == 0
    assert document["mixed_problems"] == []
    assert set(document["mixed_calls"]) == {"call", "limited", "batch", "every_exit", "use", "stats", "prometheus"}
    assert min(document["exit_counts"]) > 0
    assert document["resident_bytes_settled"] > 1 << 20


def test_soak_changed_thresholds_counts_changed_results(tmp_path: Path) -> None:
    model = ee.load(write_tiny_bundle(tmp_path))
    soak = load_script(SCRIPT).Soak(model)
    assert soak.calls(32) == soak.calls_at_once(2, 16) == 0
    model.use("full")
    assert soak.calls(32) == soak.calls_at_once(2, 16) > 0


def test_mixture_failing_call_is_counted_as_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ee.load(write_tiny_bundle(tmp_path))
    x = model.bundle.arrays(model.bundle.manifest.samples)
    mixture = load_script(SCRIPT).Mixture(model, [{name: array[:1] for name, array in x.items()}])
    monkeypatch.setattr(model, "stats", lambda: {"exit_counts": [1], "operating_point": "full", "operating_points": {}})
    mixture.run(2, 60)  # ends at once, as the first problem ends each thread
    assert len(mixture.problems) == 2
    assert all("KeyError" in problem for problem in mixture.problems)  # of stats, or of prometheus, which reads them


def test_soak_not_a_bundle_exits_3(tmp_path: Path) -> None:
    ended = run_script(SCRIPT, tmp_path)
    assert ended.returncode == 3
    assert ended.stderr.startswith("error: manifest.json")
