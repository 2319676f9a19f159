"""Costs of every choice of trial exits, from the kernels of the backbone between taps and of each branch.

The network with an exit at every tap is recorded once per kind of branch. Without an exit its two neighbouring segments
are one graph: their kernels, and one dispatch less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from eetool.advise.trial_exits import TrialExit, TrialNet
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.cascade_cost import CascadeCosts, CascadeLayout
from eetool.latency.estimate.cascade_price import LATENCY, MACS
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.prediction_target import ONNX_FP32, PredictionTarget, target_of_variant
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.estimate.recorded_model import recorded_model
from eetool.latency.kernels.from_onnx import total_macs
from eetool.latency.kernels.kernel import INT8, Kernel
from eetool.latency.table.kernel_costs import GUESSED
from eetool.latency.table.table import LITERT
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.graph_recorder import UnknownOperatorError, record_graphs
from eetool.model.references.example_inputs import example_inputs
from eetool.model.scored_network import ScoredNetwork
from eetool.model.spec import CheckpointRecord, ModelSpec, TrainingSettings

_NAME = "network"
_DEVIATIONS = 1.645  # half-width of an interval of 90 % in standard deviations


@dataclass(frozen=True)
class Price:
    """Cost of one graph in the unit of an advice, and the standard deviation of its error."""

    value: float
    deviation: float


class ExitCosts:
    """Costs on one device; MACs without a predictor.

    Args:
        nets: trial exits; those of the first are at every place.
        places: number of taps.
        predictor: predictor of the device.
    """

    def __init__(self, nets: Sequence[TrialNet], places: int, predictor: Predictor | None) -> None:
        self._predictor = predictor
        self.unit = MACS if predictor is None else LATENCY
        self._stretches: list[list[Kernel]] = []
        self._heads: dict[TrialExit, list[Kernel]] = {}
        for trial in nets:
            target = network_target(trial.spec, trial.net, predictor)
            layout = target.layout
            assert layout is not None
            trunk = [[k for name in names for k in target.graphs[name]] for names in layout.trunk]
            if len(trial.exits) == places and not self._stretches:
                self._stretches = trunk
            for exit_, head in zip(trial.exits, layout.heads, strict=True):
                self._heads[exit_] = [] if head is None else target.graphs[head]
        self._known: dict[tuple[int, int] | TrialExit, GraphCost] = {}
        plain = EarlyExitNet(nets[0].net.backbone, {})
        spec = replace(nets[0].spec, taps=(), branches=(), layouts=())
        unsplit = network_target(spec, plain, predictor)
        self._unsplit = [k for kernels in unsplit.graphs.values() for k in kernels]

    @property
    def unsplit(self) -> Price:
        """Cost of the network without exits."""
        return self._price(self._unsplit)

    def share_of_backbone(self, place: int) -> tuple[float, float]:
        """Return the shares of MACs and of the cost that lie before a place."""
        before = [k for kernels in self._stretches[: place + 1] for k in kernels]
        macs = total_macs(before) / max(1, total_macs(self._unsplit))
        return macs, self._price(before).value / max(self.unsplit.value, 1e-12)

    def head(self, exit_: TrialExit) -> float:
        """Return the cost of an exit's branch and gate alone."""
        return self._price(self._heads[exit_]).value

    def int8(self) -> Price | None:
        """Return the cost of the unsplit network in int8, from the table alone; None where it has no int8 figures."""
        if self._predictor is None:
            return None
        profile, costs = self._predictor.profile, self._predictor.kernel_costs
        held = {(e.backend, e.precision) for e in profile.table} | {
            (r.backend, r.precision) for r in profile.regressions
        }
        if (costs.backend, INT8) not in held:
            return None
        predictor = Predictor(profile, costs.backend, INT8, costs.threads)
        kernels = [replace(k, precision=INT8) if k.macs else k for k in self._unsplit]
        return price(predictor.graph("int8", kernels))

    def guessed_share(self) -> float:
        """Return the share of the unsplit latency whose kernels the table has no figures of their kind for."""
        if self._predictor is None:
            return 0.0
        priced = [(k, self._predictor.kernel_costs.latency(k)) for k in self._unsplit]
        guessed = sum(p.value for k, p in priced if p.basis == GUESSED or k.kind == "other")
        return guessed / max(sum(p.value for _, p in priced), 1e-12)

    def cascade(self, exits: Sequence[TrialExit]) -> CascadeCosts:
        """Return the costs of a cascade with these exits, from shallow to deep."""
        layout, graphs = self._cascade(exits)
        return cascade_costs(layout, graphs, self._predictor)

    def macs(self, exits: Sequence[TrialExit]) -> CascadeCosts:
        """Return the MACs of the same cascade."""
        layout, graphs = self._cascade(exits)
        return layout.arrange({name: float(graph.macs) for name, graph in graphs.items()})

    def ratio_deviation(self, exits: Sequence[TrialExit], shares: Sequence[float], ratio: float) -> float:
        """Return the standard deviation of (mean cost / unsplit cost) that comes from the table.

        An error of the backbone's kernels is in both costs and mostly cancels: of segment i it is weighted with the
        share of inputs that run it less the ratio. That of a branch is not in the unsplit network.
        """
        if self._predictor is None:
            return 0.0
        layout, graphs = self._cascade(exits)
        reach = [float(sum(shares[i:])) for i in range(len(shares))]
        trunk = [(reach[i] - ratio) * price(graphs[names[0]]).deviation for i, names in enumerate(layout.trunk)]
        heads = [reach[i] * price(graphs[name]).deviation for i, name in enumerate(layout.heads) if name]
        return float(np.hypot.reduce([*trunk, *heads]) / max(self.unsplit.value, 1e-12))

    def _cascade(self, exits: Sequence[TrialExit]) -> tuple[CascadeLayout, dict[str, GraphCost]]:
        bounds = [0, *(e.place + 1 for e in exits), len(self._stretches)]
        graphs = {f"seg{i}": self._segment(a, b) for i, (a, b) in enumerate(pairwise(bounds))}
        heads = {f"exit{i}": self._graph(e, self._heads[e]) for i, e in enumerate(exits)}
        return CascadeLayout(tuple((name,) for name in graphs), tuple(heads)), {**graphs, **heads}

    def _segment(self, first: int, end: int) -> GraphCost:
        return self._graph((first, end), [k for kernels in self._stretches[first:end] for k in kernels])

    def _graph(self, key: tuple[int, int] | TrialExit, kernels: list[Kernel]) -> GraphCost:
        if key not in self._known:
            self._known[key] = graph_cost(_NAME, kernels, self._predictor)
        return self._known[key]

    def _price(self, kernels: Sequence[Kernel]) -> Price:
        if self._predictor is None:
            return Price(float(total_macs(list(kernels))), 0.0)
        return price(graph_cost(_NAME, kernels, self._predictor))


def network_target(spec: ModelSpec, net: EarlyExitNet, predictor: Predictor | None) -> PredictionTarget:
    """Return the kernels of a network: recorded, or exported where an operator is not known to the recorder."""
    block, fuses = 1, None
    if predictor is not None:
        block, fuses = predictor.channel_block, predictor.kernel_costs.backend != LITERT
    try:
        recorded = record_graphs(ScoredNetwork(net, MAX_SOFTMAX).eval(), example_inputs(spec.inputs))
    except UnknownOperatorError:
        samples = dict(zip((i.name for i in spec.inputs), example_inputs(spec.inputs, 2), strict=True))
        record = CheckpointRecord(spec, TrainingSettings("none", 0, 0, 0, 0.0))
        with temporary_bundle(Checkpoint(record, net.state_dict(), samples), _NAME) as bundle:
            return target_of_variant(bundle, ONNX_FP32, block, fuses)
    return target_of_variant(recorded_model(recorded, _NAME), ONNX_FP32, block, fuses)


def graph_cost(name: str, kernels: Sequence[Kernel], predictor: Predictor | None) -> GraphCost:
    """Return the cost of a graph; without a predictor its latency is 0, and its MACs count."""
    if predictor is not None:
        return predictor.graph(name, kernels)
    from eetool.latency.estimate.energy import UNKNOWN

    macs = total_macs(list(kernels))
    return GraphCost(name, "graph", macs, len(kernels), 0.0, (0.0, 0.0), UNKNOWN, 0.0, ())


def cascade_costs(layout: CascadeLayout, graphs: Mapping[str, GraphCost], predictor: Predictor | None) -> CascadeCosts:
    """Return the costs of a cascade of these graphs."""
    if predictor is None:
        return layout.arrange({name: float(graph.macs) for name, graph in graphs.items()})
    return predictor.cascade(layout, graphs).costs[LATENCY]


def price(graph: GraphCost) -> Price:
    """Return the predicted latency of a graph."""
    return Price(graph.latency_ms, graph.half_width_ms / _DEVIATIONS)
