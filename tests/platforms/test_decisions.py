"""Parts of `make test-arm64` and `make test-pythons` that need no other platform."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle
from tests.platforms import decisions, pythons

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Images of all contrasts, which leave at every exit."""
    pick = np.random.default_rng(0)
    np.savez(tmp_path / "inputs.npz", input=pick.normal(0, 2, (60, 1, 4, 4)).astype(np.float32))
    return tmp_path / "inputs.npz"


@pytest.fixture
def trial(tmp_path: Path, inputs: Path) -> Any:
    return decisions.prepare(tmp_path / "trial", write_tiny_bundle(tmp_path), inputs, ["onnx"], 60)


def test_prepare_thresholds_spread_exits(trial: Any) -> None:
    with np.load(trial.decided) as decided:
        assert np.bincount(decided[f"{VARIANT}.exit"]).tolist() == [20, 20, 20]


def test_compare_same_platform_agrees(trial: Any) -> None:
    comparison = decisions.compare(trial, trial.decided, trial.ran)
    assert comparison["ok"]
    figures = comparison["variants"][VARIANT]
    assert figures["same_exit"] == figures["same_exit_and_class"] == figures["inputs"] == 60
    assert figures["max_abs_logit_error"] == 0
    assert figures["backend"] == "onnxruntime"


def test_compare_other_decisions_are_counted_and_fail(trial: Any, tmp_path: Path) -> None:
    with np.load(trial.decided) as decided:
        other = dict(decided)
    other[f"{VARIANT}.exit"] = np.where(np.arange(60) < 3, 2, other[f"{VARIANT}.exit"])
    other[f"{VARIANT}.logits"] = other[f"{VARIANT}.logits"] + np.float32(0.5)
    np.savez(tmp_path / "other.npz", **other)
    comparison = decisions.compare(trial, tmp_path / "other.npz", trial.ran)
    assert not comparison["ok"]
    figures = comparison["variants"][VARIANT]
    assert 57 <= figures["same_exit"] < 60
    assert figures["max_abs_logit_error"] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize(("precision", "ok"), [("fp32", False), ("int8", True)])
def test_differences_limit_applies_to_fp32_only(precision: str, ok: bool) -> None:
    mine = {"exit": np.array([0, 1]), "confidence": np.ones(2), "logits": np.ones((2, 4), np.float32)}
    theirs = {**mine, "exit": np.array([1, 0])}
    figures = decisions.differences(mine, theirs, limited=precision == "fp32")
    assert (figures["same_exit"], figures["ok"]) == (0, ok)


def test_compare_variant_not_run_is_not_ok(trial: Any) -> None:
    ran = {**trial.ran, "variants": {VARIANT: {"not_run": "no backend"}}}
    comparison = decisions.compare(trial, trial.decided, ran)
    assert comparison["variants"] == {VARIANT: {"not_run": "no backend", "ok": None}}
    assert not comparison["ok"]  # nothing was compared


def test_decide_variant_not_loadable_is_reported(trial: Any, tmp_path: Path) -> None:
    words = (trial.bundle, trial.inputs, trial.thresholds, tmp_path / "there.npz")
    trial.thresholds.write_text(json.dumps({"onnx/absent": [0.5, 0.5]}))
    done = subprocess.run([sys.executable, decisions.SCRIPT, *words], capture_output=True, text=True, check=True)
    assert "no variant 'onnx/absent'" in json.loads(done.stdout)["variants"]["onnx/absent"]["not_run"]


def test_arm64_without_tools_prints_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "ARM64_ROOT": str(tmp_path / "arm64")}
    command = [sys.executable, "-m", "tests.platforms.arm64"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stdout == ""
    assert "qemu-aarch64-static" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "arm64").exists()


def test_requirements_old_onnxruntime_pins_numpy_1() -> None:
    assert pythons.requirements("3.9", "1.14")[:2] == ["onnxruntime==1.14.*", "numpy<2"]
    assert "tflite-runtime" in pythons.requirements("3.9", "1.14")
    assert pythons.requirements("3.13", "1.20") == ["onnxruntime==1.20.*", "onnx", "pytest", "hypothesis"]
    assert "ai-edge-litert" in pythons.requirements("3.13", pythons.NEWEST)
