"""Whole networks on Raspberry Pis from the fit of a few: the error on cells that were not fitted on, as JSON.

    python benchmarks/boards.py --data DIR

DIR holds `nasbench201_measured.npz`. Half of the cells were never looked at while the fit was developed; `untouched`
fits on cells of the other half and reports on these. `all` draws from all cells and reports on the rest.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nas201 import LITERT, NONE, ONNXRUNTIME, PARTS, Cells, answers, read_cells, table_of
from scipy.stats import spearmanr

from eetool.profile.fit import fit_costs


@dataclass(frozen=True)
class Goal:
    """What is asked of a board: the share within 10 % from so many cells, and a rank correlation."""

    board: str
    column: str
    cells: int
    draws: int
    within_10: float
    spearman: float | None = None


GOALS = (
    Goal("rpi4", "raspi4_cifar10_ms", 30, 20, 0.72, 0.977),
    Goal("rpi4", "raspi4_cifar10_ms", 300, 20, 0.74, 0.977),
    *(Goal("rpi5", f"pi5_{r}_{d}_ms", 100, 10, 0.96) for r in ("onnx", "litert") for d in ("cifar100", "ninapro")),
    *(Goal("rpi5", f"pi5_onnx_{d}_mj", 100, 10, 0.93) for d in ("cifar100", "ninapro")),
    *(Goal("rpi5", f"pi5_litert_{d}_mj", 100, 10, 0.90) for d in ("cifar100", "ninapro")),
)


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    pi4, pi5 = read_cells(parser.parse_args().data)
    without_none = np.where((pi4.ops != NONE).all(axis=1))[0]
    every = np.arange(len(pi5.ops))
    results = [
        _against(goal, *((pi4, without_none, False) if goal.board == "rpi4" else (pi5, every, True))) for goal in GOALS
    ]
    print(json.dumps({"benchmark": "boards", "parts": PARTS, "results": results}, indent=2))


def _against(goal: Goal, cells: Cells, eligible: np.ndarray, merges: bool) -> dict[str, Any]:
    runtime = ONNXRUNTIME if "_onnx_" in goal.column else LITERT
    columns, measured = table_of(cells.ops, runtime, merges), cells.columns[goal.column]
    # A network whose answer does not depend on its input is folded to a constant: nothing is learnt from its time.
    fit_on = np.array([answers(ops) for ops in cells.ops])
    developed = eligible[cells.developed_on[eligible]]
    untouched = eligible[~cells.developed_on[eligible]]
    found = {}
    for name, source, target in (("all", eligible, eligible), ("untouched", developed, untouched)):
        scores = []
        for draw in range(goal.draws):
            train = np.random.default_rng(draw).choice(source, goal.cells, replace=False)
            test = np.setdiff1d(target, train)
            fitted = train[fit_on[train]]
            scores.append(_score(columns[test] @ fit_costs(columns[fitted], measured[fitted]), measured[test]))
        found[name] = {"cells": len(target), **{k: round(float(np.mean([s[k] for s in scores])), 4) for k in scores[0]}}
    met = all(
        f["within_10"] >= goal.within_10 and (goal.spearman is None or f["spearman"] >= goal.spearman)
        for f in found.values()
    )
    return {**vars(goal), "met": met, **{f"on_{name}": f for name, f in found.items()}}


def _score(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    errors = np.abs(predicted / measured - 1)
    return {
        "within_10": float((errors <= 0.1).mean()),
        "within_20": float((errors <= 0.2).mean()),
        "median_error": float(np.median(errors)),
        "spearman": float(spearmanr(predicted, measured).statistic),
    }


if __name__ == "__main__":
    main()
