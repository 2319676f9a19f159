"""What a candidate costs on a device, from its table, with every rejected branch, gate and dispatch charged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eetool.errors import MissingError
from eetool.export.graph_recorder import RecordedGraphs, UnknownOperatorError, record_graphs
from eetool.export.scored_network import ScoredNetwork
from eetool.graphs.onnx_graph import read_graph
from eetool.latency.estimate.energy import Energy
from eetool.latency.estimate.predictor import GraphCost, Predictor
from eetool.latency.kernels.from_onnx import kernels_from_graph, total_macs
from eetool.latency.table.table import LITERT
from eetool.model.checkpoint import Checkpoint, CheckpointRecord, ModelSpec, Policy, TrainingSettings, example_inputs
from eetool.model.early_exit import EarlyExitNet
from eetool.model.macs import count_parameters
from eetool.tune.exit_costs import CascadeCosts, component_costs
from eetool.workspace import scratch
from eetool_runtime.manifest import OperatingPoint

MACS, LATENCY, ENERGY = "macs", "latency_ms", "energy_mj"
OBJECTIVES = (MACS, LATENCY, ENERGY)


@dataclass(frozen=True)
class CandidateCosts:
    """Costs by objective (only those that are known), and what does not depend on inputs.

    `peak_memory_bytes` is null where the network had to be exported to be priced. `energy_scope` says what energies
    cover, and `energy_provenance` whether they are predicted or estimated.
    """

    costs: dict[str, CascadeCosts]
    parameters: int
    peak_memory_bytes: int | None
    energy_scope: str | None = None
    energy_provenance: str | None = None


class CostEstimator:
    """Prices networks for one device; without a predictor in MACs alone."""

    def __init__(self, predictor: Predictor | None = None) -> None:
        self._predictor = predictor

    def __call__(self, spec: ModelSpec, net: EarlyExitNet, score: str) -> CandidateCosts:
        """Price of `net`, which is in eval mode and was built from `spec`, with gates that go by `score`."""
        try:
            recorded = record_graphs(ScoredNetwork(net, score).eval(), example_inputs(spec.inputs))
        except UnknownOperatorError:
            return self._exported(spec, net, score)
        return self._recorded(recorded, net)

    def _recorded(self, recorded: RecordedGraphs, net: EarlyExitNet) -> CandidateCosts:
        if self._predictor is None:
            macs = {name: float(total_macs(kernels_from_graph(graph))) for name, graph in recorded.graphs.items()}
            return CandidateCosts(
                {MACS: _arranged(macs, len(net.taps))}, count_parameters(net), recorded.peak_memory_bytes
            )
        block, sums = self._predictor.channel_block, self._predictor.book.backend != LITERT
        priced = {n: self._predictor.graph(n, kernels_from_graph(g, block, sums)) for n, g in recorded.graphs.items()}
        return self._price(
            priced, lambda cost: _arranged(cost, len(net.taps)), count_parameters(net), recorded.peak_memory_bytes
        )

    def _exported(self, spec: ModelSpec, net: EarlyExitNet, score: str) -> CandidateCosts:
        """The slow way, for networks with operators that `record` does not know: seconds instead of milliseconds."""
        from eetool.export.bundle_export import ExportOptions, export_bundle

        exits = len(spec.taps) + 1
        policy = Policy(score, (1.0,) * exits, {"full": OperatingPoint((None,) * (exits - 1))}, 0.0)
        samples = dict(zip((i.name for i in spec.inputs), example_inputs(spec.inputs, 2), strict=True))
        checkpoint = Checkpoint(
            CheckpointRecord(spec, TrainingSettings("none", 0, 0, 0, 0.0), None, policy), net.state_dict(), samples
        )
        with scratch() as folder:
            path = folder / "candidate.eebundle"
            manifest = export_bundle(checkpoint, path, ExportOptions(references=False))
            if self._predictor is None:
                macs = component_costs(manifest, {c.name: float(c.macs) for c in manifest.components})
                return CandidateCosts({MACS: macs}, count_parameters(net), None)
            block, sums = self._predictor.channel_block, self._predictor.book.backend != LITERT
            files = {name: path / file.path for name, file in manifest.variants["onnx/fp32"].components.items()}
            graphs = {name: kernels_from_graph(read_graph(file), block, sums) for name, file in files.items()}
            priced = {name: self._predictor.graph(name, kernels) for name, kernels in graphs.items()}
        return self._price(priced, lambda cost: component_costs(manifest, cost), count_parameters(net), None)

    def _price(
        self,
        priced: Mapping[str, GraphCost],
        arranged: Callable[[Mapping[str, float]], CascadeCosts],
        parameters: int,
        peak_memory_bytes: int | None,
    ) -> CandidateCosts:
        assert self._predictor is not None
        composition = self._predictor.book.composition
        latency = arranged({name: cost.latency_ms + composition.runtime_ms for name, cost in priced.items()})
        first, *others = latency.trunk
        costs = {
            MACS: arranged({name: float(cost.macs) for name, cost in priced.items()}),
            LATENCY: CascadeCosts((first + composition.call_ms, *others), latency.heads, latency.read_later),
        }
        energies = {name: cost.energy_mj for name, cost in priced.items()}
        known = {name: energy.value for name, energy in energies.items() if energy.value is not None}
        some: Energy | None = None
        if len(known) == len(energies):
            costs[ENERGY], some = arranged(known), next(iter(energies.values()))
        return CandidateCosts(
            costs, parameters, peak_memory_bytes, some.scope if some else None, some.provenance if some else None
        )


def costs_of(price: CandidateCosts, objective: str, device: str) -> CascadeCosts:
    """Costs in the unit of `objective`; raises MissingError where the device's table does not know it."""
    if objective not in price.costs:
        raise MissingError(
            f"{device} has no table or watts that tell {objective}", "`eetool devices` lists what is known of which."
        )
    return price.costs[objective]


def least_figures(price: CandidateCosts) -> dict[str, float]:
    """What no thresholds get below, by the name of the limit: means are at least what the cheapest way out costs, and
    full depth at least what it costs without a gate.
    """
    means = {name: _cheapest_way_out(costs) for name, costs in price.costs.items()}
    worst = {f"worst_{name}": float(sum(price.costs[name].trunk)) for name in (MACS, LATENCY) if name in price.costs}
    memory = {} if price.peak_memory_bytes is None else {"peak_memory_bytes": float(price.peak_memory_bytes)}
    return {**means, **worst, **memory, "parameters": float(price.parameters)}


def _cheapest_way_out(costs: CascadeCosts) -> float:
    early = len(costs.heads)
    choices = [tuple(0.0 if i == exit_ else None for i in range(early)) for exit_ in range(early + 1)]
    return min(float(costs.leaving(choice)[i]) for i, choice in enumerate(choices))


def _arranged(cost: Mapping[str, float], early: int) -> CascadeCosts:
    """Costs of `seg0`, `exit0`, … by exit; the final exit holds the tail of the backbone."""
    trunk = [cost.get(f"seg{i}", 0.0) for i in range(early)]
    heads = tuple(cost.get(f"exit{i}", 0.0) for i in range(early))
    return CascadeCosts((*trunk, cost.get(f"seg{early}", 0.0) + cost.get(f"exit{early}", 0.0)), heads)
