"""A small table of trained exits made of random numbers, for tests of `benchmarks/tabular`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from eetool.latency.table.table import Composition
from eetool.records import encode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TAPS, BRANCHES, BACKBONES = 4, ("linear", "max2", "conv3-32", "rule"), ("small", "middle", "large")
COUNTS = {"threshold": 300, "judge": 200, "test": 250}


def synthetic_table(seed: int = 0) -> Any:
    """Return a table whose deeper exits, larger branches and larger backbones are more accurate and cost more."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from tabular.table_file import FORMAT, SearchTable
    finally:
        sys.path.remove(str(BENCHMARKS))
    rng = np.random.default_rng(seed)
    n = sum(COUNTS.values())
    labels = rng.integers(0, 10, n).astype(np.uint8)
    hardness = rng.normal(size=n)
    shape = (len(BACKBONES), TAPS, len(BRANCHES))
    size = np.array([1.0, 2.0, 4.0])
    trunk = size[:, None] * np.array([1.0, 1.0, 1.0, 1.0, 2.0]) * 1e6
    head = np.broadcast_to(np.array([0.05, 0.06, 0.5, 1.2]) * 1e6, shape) * rng.uniform(0.7, 1.3, shape)
    depth = np.arange(1, TAPS + 1)[None, :, None] / (TAPS + 1)
    skill = (
        np.log2(size)[:, None, None] * 0.4 + 2 * depth + np.array([-0.4, -0.5, 0.2, 0.3]) + rng.normal(0, 0.2, shape)
    )
    final_skill = np.log2(size) * 0.4 + 2.3
    classes, uncertainty = _answers(skill[..., None] - hardness, labels, rng)
    final_classes, final_uncertainty = _answers(final_skill[:, None] - hardness, labels, rng)
    arrays = {
        "labels": labels,
        "classes": classes,
        "uncertainty": uncertainty,
        "margin": np.clip(1 - 2 * uncertainty.astype(float), 0, 1).astype(np.float16),
        "final_classes": final_classes,
        "final_uncertainty": final_uncertainty,
        "trunk_macs": trunk,
        "head_macs": head,
        "trunk_weight_mb": trunk * 1e-7,
        "head_weight_mb": head * 1e-8,
    }
    for device, factor in (("rpi4", 1e-6), ("rpi5", 3e-7)):
        arrays |= {f"{device}_{where}_latency_ms": arrays[f"{where}_macs"] * factor for where in ("trunk", "head")}
        arrays |= {f"{device}_{where}_energy_mj": arrays[f"{where}_macs"] * 2 * factor for where in ("trunk", "head")}
    composition = Composition(
        "fp32", "onnxruntime", 1, "none", 0.02, 5, 0.05, runtime_ms=0.01, call_ms=0.05, turn_ms=0.01
    )
    device_facts = {
        "backend": "onnxruntime",
        "threads": 1,
        "energy_scope": "board_gross",
        "energy_provenance": "estimated",
        "dispatch": {"latency_ms": 0.02, "energy_mj": 0.04},
        "composition": encode(composition),
    }
    names = [
        {"name": b, "taps": [f"t{t}" for t in range(TAPS)], "branches": [list(BRANCHES)] * TAPS} for b in BACKBONES
    ]
    meta = {
        "format": FORMAT,
        "data": "random",
        "labels": [str(c) for c in range(10)],
        "examples": COUNTS,
        "branches": list(BRANCHES),
        "backbones": names,
        "devices": {"rpi4": device_facts, "rpi5": device_facts},
    }
    return SearchTable(meta, arrays)


def _answers(ease: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return classes and uncertainties of exits whose answers are right where examples are easy for them."""
    right = ease + rng.normal(0, 0.5, ease.shape) > 0
    wrong = (labels + rng.integers(1, 10, ease.shape)) % 10
    confident = ease + rng.normal(0, 0.5, ease.shape)
    return np.where(right, labels, wrong).astype(np.uint8), (1 / (1 + np.exp(3 * confident))).astype(np.float16)
