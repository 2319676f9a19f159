"""The single file in JavaScript: the same exits as the bundle in Python, on the same samples."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool_runtime import load

EXAMPLE = Path(__file__).parents[2] / "examples/node"
# Scripts would fetch GPU libraries. What is in npm's cache is not asked for again, and nothing is tried twice.
INSTALL = "npm install --ignore-scripts --no-audit --no-fund --prefer-offline --fetch-retries=0 --fetch-timeout=30000"


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """The example with its packages (300 MB), in a folder that is removed afterwards."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node or npm is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(EXAMPLE, Path(name) / "node"))
        try:
            done = subprocess.run(INSTALL.split(), cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not answer in time")
        if done.returncode:
            pytest.skip("npm could not install onnxruntime-node: is its registry within reach?")
        yield folder


def node(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["node", "run.mjs", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_node_example_takes_same_exits(
    installed: Path, cli: Callable[..., Any], tuned: Path, bundle: Path, tmp_path: Path
) -> None:
    single_file = tmp_path / "model.onnx"
    assert cli("export", tuned, "--layout", "single", "-o", single_file).code == 0
    samples = subprocess.run(
        [sys.executable, installed / "samples.py", single_file, bundle], capture_output=True, text=True, check=True
    )
    (tmp_path / "samples.json").write_text(samples.stdout)
    model, left_at = load(bundle), set()
    inputs = model.bundle.arrays(model.bundle.manifest.samples)["input"]
    for point in model.operating_points:
        model.use(point)
        expected = [model(inputs[i : i + 1]) for i in range(len(inputs))]
        done = node(installed, single_file, tmp_path / "samples.json", point)
        assert done.returncode == 0, done.stderr
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(f["exit"], f["label"]) for f in found] == [(e.exit, e.label) for e in expected]
        np.testing.assert_allclose([f["confidence"] for f in found], [e.confidence for e in expected], rtol=1e-4)
        left_at.update(e.exit for e in expected)
    assert len(left_at) > 1


def test_node_example_reports_errors(installed: Path, tmp_path: Path) -> None:
    document = {"input": "x", "shape": [1], "labels": [], "operating_points": {"full": []}, "samples": []}
    (tmp_path / "samples.json").write_text(json.dumps(document))
    unknown = node(installed, "model.onnx", tmp_path / "samples.json", "slow")
    assert (unknown.returncode, "there are: full" in unknown.stderr) == (2, True)
    nothing = node(installed, "model.onnx")
    assert (nothing.returncode, "usage:" in nothing.stderr) == (2, True)
