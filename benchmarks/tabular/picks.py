"""The command `picks`: the best networks of one backbone and random ones, to train in full."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from eetool.search.evaluation.cost_estimation import every_exit_can_save
from eetool.search.methods.methods import find_method
from tabular.exact_optimum import networks
from tabular.table_evaluation import CALIBRATED, TableEvaluator, TableNetwork, figures_of
from tabular.table_file import SearchTable
from tabular.table_search import JUDGE, TEST, TableJudge

BEST, RANDOM = "best", "random"


@dataclass(frozen=True)
class PickSettings:
    """Settings of a choice of networks.

    Attributes:
        count: best networks, and as many random ones.
        most_exits: of a network.
        max_accuracy_drop: percentage points that tuned thresholds may lose against full depth.
        seed: of the random ones.
    """

    count: int
    most_exits: int
    max_accuracy_drop: float
    seed: int


@dataclass(frozen=True)
class Picks:
    """Networks by group, how many were compared, and figures (error, cost) of each by part."""

    compared: int
    groups: dict[str, list[TableNetwork]]
    figures: dict[TableNetwork, dict[str, tuple[float, float]]]


def pick_networks(evaluator: TableEvaluator, backbone: int, settings: PickSettings) -> Picks:
    """Return the best networks with early exits, and random ones of the others.

    The best have the least mean cost with tuned thresholds, on the part `judge`, of those that lose no more there than
    the accuracy drop.
    """
    table = evaluator.table
    judge = TableJudge(evaluator, find_method("random"), settings.max_accuracy_drop)
    every = networks(backbone, table.taps, len(table.branches), settings.most_exits)
    found = [one for one in every if one.exits and every_exit_can_save(evaluator.costs(one))]
    points = [judge.points(network, CALIBRATED) for network in found]  # tuned thresholds first
    error, cost = np.array([judged[0, :2] for judged, _ in points]).reshape(-1, 2).T
    full = figures_of(evaluator.problem(TableNetwork(backbone), JUDGE), ())
    over = error > 1 - full.accuracy + settings.max_accuracy_drop / 100
    order = np.lexsort((error, cost, over))
    others = np.random.default_rng(settings.seed).permutation(order[settings.count :])
    chosen = {BEST: order[: settings.count], RANDOM: others[: settings.count]}
    figures = {
        found[i]: {part: (float(on[0, 0]), float(on[0, 1])) for part, on in zip((JUDGE, TEST), points[i], strict=True)}
        for group in chosen.values()
        for i in group
    }
    return Picks(len(found), {name: [found[i] for i in group] for name, group in chosen.items()}, figures)


def picks_document(evaluator: TableEvaluator, backbone: int, picks: Picks) -> dict[str, Any]:
    """Return the picked networks with taps, branches and figures."""
    table = evaluator.table
    rows = {
        name: [
            {
                **exits_in_words(table, network),
                **{part: {"accuracy": 1 - e, "cost": c} for part, (e, c) in picks.figures[network].items()},
            }
            for network in group
        ]
        for name, group in picks.groups.items()
    }
    return {"backbone": table.backbones[backbone], "objective": evaluator.objective, "compared": picks.compared, **rows}


def exits_in_words(table: SearchTable, network: TableNetwork) -> dict[str, list[str]]:
    """Return the taps and branches of a network as `eetool train` takes them."""
    names = table.meta["backbones"][network.backbone]
    return {
        "taps": [names["taps"][tap] for tap, _ in network.exits],
        "branches": [names["branches"][tap][branch] for tap, branch in network.exits],
    }
