"""The command `picks`: networks of one backbone to train in full, so that the ranking of a table can be checked."""

from typing import Any

import numpy as np

from eetool.search.evaluation.cost_estimation import every_exit_can_save
from eetool.search.methods.methods import find_method
from tabular.exact_optimum import networks
from tabular.table_evaluation import CALIBRATED, TableEvaluator, TableNetwork, figures_of
from tabular.table_search import JUDGE, TableJudge


def pick_networks(
    evaluator: TableEvaluator, backbone: int, count: int, most_exits: int, max_accuracy_drop: float, seed: int
) -> dict[str, Any]:
    """Return the best networks with up to `most_exits` exits, and as many random ones of the others.

    The best have the least mean cost with tuned thresholds, on the part `judge`, of those that lose no more there than
    `max_accuracy_drop` percentage points against full depth.
    """
    table = evaluator.table
    judge = TableJudge(evaluator, find_method("random"), max_accuracy_drop)
    found = [n for n in networks(backbone, table.taps, len(table.branches), most_exits) if n.exits]
    found = [network for network in found if every_exit_can_save(evaluator.costs(network))]
    points = [judge.points(network, CALIBRATED) for network in found]  # tuned thresholds first
    error, cost = np.array([judged[0, :2] for judged, _ in points]).reshape(-1, 2).T
    full = figures_of(evaluator.problem(TableNetwork(backbone), JUDGE), ())
    over = error > 1 - full.accuracy + max_accuracy_drop / 100
    order = np.lexsort((error, cost, over))
    best, others = order[:count], order[count:]
    random = np.random.default_rng(seed).permutation(others)[:count]
    rows = {
        name: [_row(evaluator, found[i], *(part[0, :2] for part in points[i])) for i in chosen]
        for name, chosen in (("best", best), ("random", random))
    }
    return {"backbone": table.backbones[backbone], "objective": evaluator.objective, "compared": len(found), **rows}


def _row(evaluator: TableEvaluator, network: TableNetwork, judged: np.ndarray, tested: np.ndarray) -> dict[str, Any]:
    names = evaluator.table.meta["backbones"][network.backbone]
    return {
        "taps": [names["taps"][tap] for tap, _ in network.exits],
        "branches": [names["branches"][tap][branch] for tap, branch in network.exits],
        **{
            part: {"accuracy": 1 - float(error), "cost": float(cost)}
            for part, (error, cost) in (("judge", judged), ("test", tested))
        },
    }
