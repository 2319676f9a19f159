"""`benchmarks/experiments/{threshold_margins,certificates}.py`: their documents on a small model."""

import json
from pathlib import Path

from tests.helpers.scripts import call_script

SPLITS = ("--data", "digits", "--splits", 2)


def test_threshold_margins_two_splits_prints_every_rule(trained: Path, tmp_path: Path) -> None:
    script, cache = "benchmarks/experiments/threshold_margins.py", tmp_path / "logits.npz"
    printed = call_script(script, trained, *SPLITS, "--cache", cache, "--sizes", 100, 150)
    document = json.loads(printed)
    rules = {(rule["max_accuracy_drop"], rule["standard_errors"]) for rule in document["rules"]}
    assert rules == {(drop, margin) for drop in (0.5, 1.0, 2.0) for margin in (0.0, 0.5, 1.0)}
    assert all(0 < rule["on_new_images"]["mean_cost"] <= 1 for rule in document["rules"])
    assert call_script(script, trained, *SPLITS, "--cache", cache, "--sizes", 100, 150) == printed


def test_certificates_two_splits_prints_every_promise(trained: Path) -> None:
    script = "benchmarks/experiments/certificates.py"
    document = json.loads(call_script(script, trained, *SPLITS, "--sizes", 100, 200, 200))
    assert list(document["promises"]) == ["1", "2", "3"]
    assert all(0 <= promise["refused_share"] <= 1 for promise in document["promises"].values())
