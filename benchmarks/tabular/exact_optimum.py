"""The exact optimum among networks of few exits: all of them are evaluated."""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np

from eetool.search.evaluation.cost_estimation import every_exit_can_save
from eetool.search.methods import pareto
from tabular.table_evaluation import CALIBRATED, MARGIN, TableEvaluator, TableNetwork
from tabular.table_search import TableJudge


def networks(backbone: int, taps: int, branches: int, most_exits: int) -> Iterator[TableNetwork]:
    """Yield all networks of a backbone with at most `most_exits` exits."""
    for count in range(most_exits + 1):
        for places in combinations(range(taps), count):
            for chosen in product(range(branches), repeat=count):
                yield TableNetwork(backbone, tuple(zip(places, chosen, strict=True)))


def best_points(evaluator: TableEvaluator, judge: TableJudge, backbone: int, most_exits: int) -> np.ndarray:
    """Return the points on the front of all networks of a backbone, on the parts `judge` and `test` side by side.

    The front is that of the part `judge`, with every operating point of every network that a screened method admits.
    """
    table = evaluator.table
    judged, tested = list[np.ndarray](), list[np.ndarray]()
    for network in networks(backbone, table.taps, len(table.branches), most_exits):
        if not every_exit_can_save(evaluator.costs(network)):
            continue
        for score in (CALIBRATED, MARGIN) if network.exits else (CALIBRATED,):
            on_judge, on_test = judge.points(network, score)
            judged.append(on_judge)
            tested.append(on_test)
        if len(judged) > 1000:  # only the front is kept
            judged, tested = ([part] for part in _front(judged, tested))
    return np.hstack(_front(judged, tested))


def _front(judged: list[np.ndarray], tested: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    on_judge, on_test = np.concatenate(judged), np.concatenate(tested)
    kept = pareto.pareto_front(on_judge)
    return on_judge[kept], on_test[kept]
