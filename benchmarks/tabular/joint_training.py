"""The command `joint`: picked networks trained in full, to see whether the ranking of separately trained exits holds.

A network is trained like the backbones of the table, all exits and the backbone together. Its figures are computed like
those of the table: the same parts, calibration, MACs and thresholds.
"""

import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from eetool.api.checkpoints import load_data
from eetool.api.training import train
from eetool.errors import UsageError
from eetool.model.checkpoint import Checkpoint, load_checkpoint
from eetool.records import write_file
from eetool.search.methods.batch_thresholds import cheapest_at_drops
from eetool.train.exit_answers import NetworkAnswers
from eetool.tune.threshold_search import ThresholdProblem, most_accurate
from tabular.exit_figures import BranchTraining, outputs
from tabular.make_table import BATCH, Examples, MakeSettings, choose_examples
from tabular.picks import Picks, exits_in_words
from tabular.table_evaluation import TableEvaluator, TableNetwork, figures_of
from tabular.table_file import PARTS, SearchTable
from tabular.table_search import TEST, THRESHOLD

_BUDGET = 0.75  # share of the backbone's cost at which accuracies are compared
_TABLE, _JOINT = "table", "joint"
_COST, _ACCURACY = "cost_share", "accuracy_at_budget"


@dataclass(frozen=True)
class JointTraining:
    """Settings of a training in full: data, folder of what is done, and passes over the training images."""

    data: str
    folder: Path
    epochs: int


def compare_with_joint_training(
    evaluator: TableEvaluator, picks: Picks, training: JointTraining, max_accuracy_drop: float, workers: int
) -> dict[str, Any]:
    """Train what the folder lacks, and return the figures of both kinds of training with their rank correlations.

    Raises:
        UsageError: the data are not those of the table, or the backbone has published weights.
    """
    table = evaluator.table
    chosen = [network for group in picks.groups.values() for network in group]
    if published := [b["name"] for b in (table.meta["backbones"][n.backbone] for n in chosen) if b["weights"]]:
        raise UsageError(
            f"{published[0]} has published weights, and networks are trained from random ones here",
            "Give a --backbone that the table trained.",
        )
    examples = choose_examples(MakeSettings(training.data, table.devices, BranchTraining()))
    digest = hashlib.sha256(examples.held_out.astype("<i8").tobytes()).hexdigest()
    if digest != table.meta["indices_sha256"] or not np.array_equal(_labels(examples), table.arrays["labels"]):
        raise UsageError(f"{training.data} are not the data of the table", f"It was made with {table.meta['data']}.")
    training.folder.mkdir(parents=True, exist_ok=True)
    missing = [network for network in chosen if not _file(training, table, network).is_file()]
    if workers > 1 and missing:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(partial(_train, training, table), missing))
    else:
        for network in missing:
            _train(training, table, network)
    rows = [
        {
            "group": group,
            **exits_in_words(table, network),
            _TABLE: _figures(evaluator, network, partial(evaluator.problem, network), max_accuracy_drop),
            _JOINT: _figures(evaluator, network, _JointProblems(evaluator, network, training), max_accuracy_drop),
        }
        for group, networks in picks.groups.items()
        for network in networks
    ]
    return {"epochs": training.epochs, "budget_share": _BUDGET, "networks": rows, "agreement": _agreement(rows)}


class _JointProblems:
    """Confidences, correctness and costs of a network that was trained in full, by part of the table."""

    def __init__(self, evaluator: TableEvaluator, network: TableNetwork, training: JointTraining) -> None:
        self.table, self.costs = evaluator.table, evaluator.costs(network)
        with np.load(_file(training, self.table, network), allow_pickle=False) as stored:
            self.classes, self.uncertainty = stored["classes"], stored["uncertainty"]

    def __call__(self, part: str) -> ThresholdProblem:
        at = self.table.part(part)
        confidences = 1 - self.uncertainty[:, at].astype(np.float64)
        return ThresholdProblem(confidences, self.classes[:, at] == self.table.arrays["labels"][at], self.costs)


def _figures(
    evaluator: TableEvaluator, network: TableNetwork, problems: Any, max_accuracy_drop: float
) -> dict[str, float]:
    """Return figures on the part `test`, with thresholds of `threshold`; costs are shares of the backbone's."""
    whole = float(evaluator.costs(TableNetwork(network.backbone)).leaving(())[-1])
    fitted, tested = problems(THRESHOLD), problems(TEST)
    tuned = figures_of(tested, cheapest_at_drops(fitted, [max_accuracy_drop])[0])
    within = figures_of(tested, most_accurate(fitted, _BUDGET * whole, thorough=False))
    full = figures_of(tested, (None,) * fitted.early)
    return {
        _COST: tuned.cost / whole,
        "accuracy": tuned.accuracy,
        _ACCURACY: within.accuracy,
        "budget_cost_share": within.cost / whole,
        "full_accuracy": full.accuracy,
    }


def _agreement(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each figure the rank correlation of both trainings, and the means of each group."""
    result: dict[str, Any] = {}
    for figure in (_COST, _ACCURACY):
        values = {kind: np.array([row[kind][figure] for row in rows]) for kind in (_TABLE, _JOINT)}
        groups = {name: np.array([row["group"] == name for row in rows]) for name in {row["group"] for row in rows}}
        result[figure] = {
            "spearman": _rank_correlation(values[_TABLE], values[_JOINT]),
            "means": {
                name: {kind: float(of[mask].mean()) for kind, of in values.items()} for name, mask in groups.items()
            },
        }
    return result


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's coefficient; None where all values of one are equal."""
    if not np.ptp(first) or not np.ptp(second):
        return None
    return float(spearmanr(first, second).statistic)


def _train(training: JointTraining, table: SearchTable, network: TableNetwork) -> None:
    """Train a network, and store what the table holds of its exits."""
    torch.set_num_threads(1)
    examples = choose_examples(MakeSettings(training.data, table.devices, BranchTraining()))
    checkpoint = _trained(training, table, network, examples)
    logits, _ = NetworkAnswers(checkpoint)(examples.source.inputs[examples.held_out])
    found = outputs(logits, _labels(examples), examples.counts[PARTS[0]])
    with write_file(_file(training, table, network), force=True) as temporary, temporary.open("wb") as file:
        np.savez(file, classes=found["classes"], uncertainty=found["uncertainty"])


def _trained(training: JointTraining, table: SearchTable, network: TableNetwork, examples: Examples) -> Checkpoint:
    path = _file(training, table, network).with_suffix(".pt")
    if path.is_file():
        return load_checkpoint(path)
    exits = exits_in_words(table, network)
    return train(
        table.backbones[network.backbone],
        load_data(training.data, hold_out=examples.hold_out),
        path,
        at=exits["taps"],
        branch=exits["branches"],
        epochs=training.epochs,
        batch_size=BATCH,
        keep="last",  # no epoch is chosen on examples of the table
        trial_export=(),
        resume=path.with_name(f"{path.name}.resume").is_file(),
    )


def _file(training: JointTraining, table: SearchTable, network: TableNetwork) -> Path:
    exits = "-".join(f"{tap}.{branch}" for tap, branch in network.exits)
    return training.folder / f"{table.backbones[network.backbone]}-{exits}-{training.epochs}-epochs.npz"


def _labels(examples: Examples) -> np.ndarray:
    return examples.source.labels[examples.held_out].astype(np.uint8)
