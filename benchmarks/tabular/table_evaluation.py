"""Exact evaluation of any exits with any thresholds from the table, in milliseconds and without torch.

An input leaves at the first exit whose confidence reaches its threshold, and pays for everything that ran. Costs are
those of `eetool.latency.estimate.cascade_price`, from the stretches of the backbone and the heads of the table.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from eetool.errors import UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts, CascadeLayout
from eetool.latency.estimate.cascade_price import price_cascade
from eetool.latency.estimate.energy import Energy
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.table.table import Composition
from eetool.metrics import Thresholds, exits_taken
from eetool.tune.threshold_search import ThresholdProblem
from eetool_runtime.records import decode
from tabular.table_file import SearchTable

MACS = "macs"
CALIBRATED, MARGIN = "max_softmax", "margin"  # scores of gates that the table holds
_KNOWN = 20_000  # networks whose costs are kept


@dataclass(frozen=True)
class TableNetwork:
    """A network of the table: index of its backbone, and (tap, branch) of every exit, from shallow to deep."""

    backbone: int
    exits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class TableFigures:
    """Accuracy in [0, 1] and mean cost of a network with some thresholds on one part."""

    accuracy: float
    cost: float


class TableEvaluator:
    """Figures of networks for one objective.

    Args:
        table: the table.
        objective: `macs`, or `latency_ms` or `energy_mj` of a device, such as `rpi4_latency_ms`.

    Raises:
        UsageError: the table has no such objective.
    """

    def __init__(self, table: SearchTable, objective: str) -> None:
        known = objectives(table)
        if objective not in known:
            raise UsageError(f"the table has no objective {objective!r}", f"It has {', '.join(known)}.")
        self.table = table
        self._set_objective(objective)
        arrays, labels = table.arrays, table.arrays["labels"]
        self._parts: dict[str, slice] = {name: table.part(name) for name in ("threshold", "judge", "test")}
        self._correct = arrays["classes"] == labels
        self._final = arrays["final_classes"] == labels
        # Half precision near 1 would make many confidences equal; the table holds the distance from 1.
        self._confidence = {CALIBRATED: 1 - arrays["uncertainty"].astype(np.float64), MARGIN: arrays["margin"]}

    def _set_objective(self, objective: str) -> None:
        self.objective = objective
        self._device, _, self._unit = objective.partition("_")
        self.costs = lru_cache(_KNOWN)(self._costs)

    def every_objective(self) -> "tuple[TableEvaluator, ...]":
        """Return evaluators for all objectives of the table, which share its arrays."""
        evaluators = []
        for objective in objectives(self.table):
            evaluators.append(copy.copy(self))
            evaluators[-1]._set_objective(objective)
        return tuple(evaluators)

    def problem(self, network: TableNetwork, part: str, score: str = CALIBRATED) -> ThresholdProblem:
        """Return confidences, correctness and costs of a network on one part."""
        at, rows = self._parts[part], _rows(network)
        confidences = self._confidence[score][network.backbone][(*rows, at)].astype(np.float64)
        correct = self._correct[network.backbone][(*rows, at)]
        final = self._final[network.backbone, at][None]
        never_read = np.ones_like(final, np.float64)
        return ThresholdProblem(np.vstack([confidences, never_read]), np.vstack([correct, final]), self.costs(network))

    def figures(
        self, network: TableNetwork, thresholds: Thresholds, part: str, score: str = CALIBRATED
    ) -> TableFigures:
        """Return the figures with these thresholds on one part."""
        problem = self.problem(network, part, score)
        return figures_of(problem, thresholds)

    def exit_accuracies(self, network: TableNetwork, part: str) -> tuple[float, ...]:
        """Return the accuracy of every exit alone on all examples of a part, the final one last."""
        at, rows = self._parts[part], _rows(network)
        early = self._correct[network.backbone][(*rows, at)].mean(1)
        return (*early.tolist(), float(self._final[network.backbone, at].mean()))

    def _costs(self, network: TableNetwork) -> CascadeCosts:
        components, layout = self._components(network)
        if self.objective == MACS:
            return layout.arrange({name: values[MACS] for name, values in components.items()})
        device = self.table.meta["devices"][self._device]
        dispatch = device["dispatch"]
        graphs = {
            name: GraphCost(
                *(name, "graph", int(values[MACS]), 0, values["latency_ms"] + dispatch["latency_ms"], (0.0, 0.0)),
                Energy(
                    values["energy_mj"] + dispatch["energy_mj"], device["energy_provenance"], device["energy_scope"]
                ),
                *(0.0, ()),
                weight_mb=values["weight_mb"],
            )
            for name, values in components.items()
        }
        return price_cascade(layout, graphs, _composition(device)).costs[self._unit]

    def _components(self, network: TableNetwork) -> tuple[dict[str, dict[str, float]], CascadeLayout]:
        """Return the costs of every component without its dispatch, and their layout."""
        bounds = [0, *(tap + 1 for tap, _ in network.exits), self.table.taps + 1]
        arrays, b = self.table.arrays, network.backbone
        columns = {MACS: MACS, "weight_mb": "weight_mb"}
        if self.objective != MACS:
            columns |= {unit: f"{self._device}_@_{unit}" for unit in ("latency_ms", "energy_mj")}

        def named(where: str, column: str) -> np.ndarray:
            return arrays[column.replace("@", where) if "@" in column else f"{where}_{column}"]

        segments = {
            f"segment{i}": {unit: float(named("trunk", c)[b, first:end].sum()) for unit, c in columns.items()}
            for i, (first, end) in enumerate(pairwise(bounds))
        }
        heads = {
            f"exit{i}": {unit: float(named("head", c)[b, tap, branch]) for unit, c in columns.items()}
            for i, (tap, branch) in enumerate(network.exits)
        }
        return {**segments, **heads}, CascadeLayout(tuple((name,) for name in segments), tuple(heads))


def objectives(table: SearchTable) -> tuple[str, ...]:
    """Return the costs that a table holds."""
    return (MACS, *(f"{device}_{unit}" for device in table.devices for unit in ("latency_ms", "energy_mj")))


def figures_of(problem: ThresholdProblem, thresholds: Thresholds) -> TableFigures:
    """Return accuracy and mean cost of a problem with these thresholds."""
    taken = exits_taken(problem.confidences, thresholds)
    accuracy = float(problem.correct[taken, np.arange(problem.n)].mean())
    return TableFigures(accuracy, float(problem.costs.leaving(thresholds)[taken].mean()))


def exit_shares(problem: ThresholdProblem, thresholds: Thresholds) -> np.ndarray:
    """Return the shares of inputs (exits,) that leave at each exit with these thresholds."""
    taken = exits_taken(problem.confidences, thresholds)
    shares: np.ndarray = np.bincount(taken, minlength=len(problem.confidences)) / problem.n
    return shares


def largest_cost(evaluator: TableEvaluator) -> float:
    """Return the largest cost of a backbone without exits."""
    return max(float(evaluator.costs(TableNetwork(b)).leaving(())[-1]) for b in range(len(evaluator.table.backbones)))


def _rows(network: TableNetwork) -> tuple[list[int], list[int]]:
    return [tap for tap, _ in network.exits], [branch for _, branch in network.exits]


def _composition(device: Mapping[str, object]) -> Composition:
    return decode(Composition, device["composition"], ValueError)


def check_network(network: TableNetwork, table: SearchTable) -> None:
    """Raise UsageError where a network is not one of the table."""
    taps = [tap for tap, _ in network.exits]
    inside = all(0 <= tap < table.taps and 0 <= branch < len(table.branches) for tap, branch in network.exits)
    if not 0 <= network.backbone < len(table.backbones) or not inside or sorted(set(taps)) != taps:
        raise UsageError(f"{network} is no network of the table", "Taps rise, and every index is inside the table.")


def parse_exits(text: str) -> tuple[tuple[int, int], ...]:
    """Return exits from text such as `2:0,5:3`: tap and branch by index."""
    try:
        pairs: Sequence[Sequence[str]] = [one.split(":") for one in text.split(",") if one]
        return tuple((int(tap), int(branch)) for tap, branch in pairs)
    except ValueError:
        raise UsageError(f"{text!r} names no exits", "Write tap:branch by index, as in 2:0,5:3.") from None
