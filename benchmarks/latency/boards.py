"""Prediction error of the Raspberry Pi tables on NAS-Bench-201 networks that were not fitted on, as JSON.

    python benchmarks/latency/boards.py --data DIR

DIR holds `nasbench201_measured.npz`, `fbnet_raspi4_latency.npz` and `raspberry_pi_tables.json`. Half of the cells were
never used while the fit was developed. `untouched` fits on cells of the other half and reports on these; `all` draws
from all cells and reports on the rest. `from_files` predicts untouched networks, written as ONNX files, with the
shipped hw profiles, and the latency ratios of pairs of them. `blocks` leaves groups of FBNet's blocks out of the fit of
the Raspberry Pi 4, and `published` predicts networks that others timed there in other runtimes.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from board_fits import block_rows, held_out_blocks, network_rows
from fbnet import read_blocks
from mobilenets import published_networks
from nas201 import (
    LITERT,
    NONE,
    ONNXRUNTIME,
    PARTS,
    Cells,
    is_plain,
    network,
    output_depends_on_input,
    read_cells,
    table_of,
)
from scipy.stats import spearmanr

from eetool.latency.build.robust_nnls import fit_costs
from eetool.latency.estimate.latency_breakdown import LatencyBreakdown, graph_breakdown, ratio_interval
from eetool.latency.estimate.prediction_target import target_of_variant
from eetool.latency.estimate.predictor import Predictor, predict
from eetool.latency.table.hw_profile import find_device
from eetool.latency.table.table import BACKENDS


@dataclass(frozen=True)
class Goal:
    """Goal for a board: the share of networks within 10 % after fitting `cells` cells, and a rank correlation."""

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


# Device, variant, measured column, size of the image, classes.
PREDICTED = (
    ("rpi4", "tflite/fp32", "raspi4_cifar10_ms", (3, 32, 32), 10),
    ("pixel3", "tflite/fp32", "pixel3_cifar10_ms", (3, 32, 32), 10),
    *(
        ("rpi5", variant, f"pi5_{runtime}_{dataset}_{unit}", shape, classes)
        for variant, runtime in (("onnx/fp32", "onnx"), ("tflite/fp32", "litert"))
        for dataset, shape, classes in (("cifar100", (3, 32, 32), 100), ("ninapro", (1, 16, 52), 18))
        for unit in ("ms", "mj")
    ),
)
FILES, MEDIAN_ERROR, PAIRS = 150, 0.12, 2000


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    pi4, pi5 = read_cells(data)
    without_none = np.where((pi4.ops != NONE).all(axis=1))[0]
    every = np.arange(len(pi5.ops))
    results = [
        _against(goal, *((pi4, without_none, False) if goal.board == "rpi4" else (pi5, every, True))) for goal in GOALS
    ]
    files = [_from_files(*figure, pi4 if figure[0] in ("rpi4", "pixel3") else pi5) for figure in PREDICTED]
    document = {"benchmark": "boards", "parts": PARTS, "results": results, "from_files": files}
    print(json.dumps({**document, "blocks": _blocks(pi4, data), "published": published_networks(data)}, indent=2))


def _blocks(cells: Cells, data: Path) -> list[dict[str, Any]]:
    networks = network_rows(cells, "cifar10", "raspi4_cifar10_ms", None, sums=False, repeats=True)
    blocks = block_rows(read_blocks(data, "raspi4"))
    scores = []
    for left_out, groups in zip(("input size", "expansion", "window"), blocks.groups, strict=True):
        errors = np.abs(held_out_blocks(networks, blocks, groups))
        within = {f"within_{limit}": round(float((errors <= limit / 100).mean()), 4) for limit in (20, 40)}
        median = round(float(np.median(errors)), 4)
        scores.append({"left_out": left_out, "blocks": len(errors), "median_error": median, **within})
    return scores


def _against(goal: Goal, cells: Cells, eligible: np.ndarray, merges: bool) -> dict[str, Any]:
    runtime = ONNXRUNTIME if "_onnx_" in goal.column else LITERT
    columns, measured = table_of(cells.ops, runtime, merges), cells.columns[goal.column]
    # A network whose output does not depend on its input is folded to a constant; its time carries no information.
    fit_on = np.array([output_depends_on_input(ops) for ops in cells.ops])
    developed = eligible[cells.developed_on[eligible]]
    untouched = eligible[~cells.developed_on[eligible]]
    scores_of = {}
    for name, source, target in (("all", eligible, eligible), ("untouched", developed, untouched)):
        scores = []
        for draw in range(goal.draws):
            train = np.random.default_rng(draw).choice(source, goal.cells, replace=False)
            test = np.setdiff1d(target, train)
            fitted = train[fit_on[train]]
            scores.append(_score(columns[test] @ fit_costs(columns[fitted], measured[fitted]), measured[test]))
        scores_of[name] = {
            "cells": len(target),
            **{k: round(float(np.mean([s[k] for s in scores])), 4) for k in scores[0]},
        }
    met = all(
        f["within_10"] >= goal.within_10 and (goal.spearman is None or f["spearman"] >= goal.spearman)
        for f in scores_of.values()
    )
    return {**vars(goal), "met": met, **{f"on_{name}": f for name, f in scores_of.items()}}


def _from_files(
    device: str, variant: str, column: str, shape: tuple[int, int, int], classes: int, cells: Cells
) -> dict[str, Any]:
    import onnx

    eligible = [i for i in np.where(~cells.developed_on)[0] if is_plain(cells.ops[i])]
    chosen = np.random.default_rng(0).choice(eligible, FILES, replace=False)
    graph_format, precision = variant.split("/")
    predictor = Predictor(find_device(device), BACKENDS[graph_format], precision, 1)
    predicted, inside, breakdowns = [], 0, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        for index in chosen:
            onnx.save(network(cells.ops[index], shape, classes), path)
            target = target_of_variant(path, variant, predictor.channel_block)
            cost = predict(target, predictor).graphs[0]
            breakdowns.append(graph_breakdown(next(iter(target.graphs.values())), predictor))
            figure = cost.energy_mj.value if column.endswith("_mj") else cost.latency_ms
            assert figure is not None
            predicted.append(figure)
            inside += cost.interval_ms[0] <= cells.columns[column][index] <= cost.interval_ms[1]
    score = _score(np.array(predicted), cells.columns[column][chosen])
    covered: dict[str, Any] = {}
    if not column.endswith("_mj"):
        ratios = _ratios(breakdowns, cells.columns[column][chosen], predictor)
        covered = {"inside_interval": round(inside / FILES, 4), "ratios": ratios}
    return {
        **{"device": device, "variant": variant, "column": column, "files": FILES, "goal": MEDIAN_ERROR},
        **{"met": score["median_error"] <= MEDIAN_ERROR, **covered},
        **{name: round(value, 4) for name, value in score.items()},
    }


def _ratios(breakdowns: list[LatencyBreakdown], measured: np.ndarray, predictor: Predictor) -> dict[str, Any]:
    """Compare ratios of random pairs with their 95 % intervals; `similar` pairs have a ratio within 1 ± 0.3."""
    draw = np.random.default_rng(0)
    pairs = [draw.choice(len(measured), 2, replace=False) for _ in range(PAIRS)]
    inside, similar, halves = [], [], []
    for first, second in pairs:
        found = ratio_interval(breakdowns[first], breakdowns[second], predictor.kernel_costs.composition)
        inside.append(found[1] <= measured[first] / measured[second] <= found[2])
        similar.append(abs(found[0] - 1) < 0.3)
        halves.append(np.log(found[2] / found[1]) / 2)
    of_similar = np.array(inside)[np.array(similar)]
    return {
        "pairs": PAIRS,
        "inside_interval": round(float(np.mean(inside)), 4),
        "similar_pairs": len(of_similar),
        "similar_inside_interval": round(float(of_similar.mean()), 4),
        "median_half_width": round(float(np.median(halves)), 4),
    }


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
