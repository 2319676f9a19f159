"""Costs of a candidate on a device, predicted from its table: rejected exits, gates and dispatch included."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eetool.errors import MissingError
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.latency.estimate.prediction_target import (
    ONNX_FP32,
    PredictionTarget,
    target_of_variant,
)
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.estimate.recorded_model import RecordedModel, recorded_model
from eetool.latency.kernels.from_onnx import total_macs
from eetool.latency.table.table import LITERT
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.graph_recorder import UnknownOperatorError, record_graphs
from eetool.model.macs import count_parameters
from eetool.model.references.example_inputs import example_inputs
from eetool.model.scored_network import ScoredNetwork, untuned_policy
from eetool.model.spec import CheckpointRecord, ModelSpec, TrainingSettings
from eetool_runtime.bundle import Bundle

OBJECTIVES = (MACS, LATENCY, ENERGY)
_CANDIDATE = "candidate"


@dataclass(frozen=True)
class CandidateCosts:
    """Costs by objective, and figures that do not depend on inputs. An unknown objective is absent.

    Attributes:
        peak_memory_bytes: null where the network had to be exported to be priced.
        energy_scope, energy_provenance: scope and provenance of energies, see `Energy`.
    """

    costs: Mapping[str, CascadeCosts]
    parameters: int
    peak_memory_bytes: int | None
    energy_scope: str | None = None
    energy_provenance: str | None = None


class CostEstimator:
    """Costs of networks on one device; MACs alone without a predictor."""

    def __init__(self, predictor: Predictor | None = None) -> None:
        self._predictor = predictor

    def __call__(self, spec: ModelSpec, net: EarlyExitNet, score: str) -> CandidateCosts:
        """Return the costs of `net`, which is in eval mode and was built from `spec`, with the gate score `score`."""
        try:
            recorded = record_graphs(ScoredNetwork(net, score).eval(), example_inputs(spec.inputs))
        except UnknownOperatorError:
            return self._price(self._exported(spec, net, score), net, None)
        return self._price(self._target(recorded_model(recorded, _CANDIDATE)), net, recorded.peak_memory_bytes)

    def _target(self, model: RecordedModel | Bundle) -> PredictionTarget:
        """Return the kernels that the backend of the device's table runs."""
        if self._predictor is None:
            return target_of_variant(model, ONNX_FP32, 1)
        fuses_sums = self._predictor.kernel_costs.backend != LITERT
        return target_of_variant(model, ONNX_FP32, self._predictor.channel_block, fuses_sums)

    def _exported(self, spec: ModelSpec, net: EarlyExitNet, score: str) -> PredictionTarget:
        """Return the kernels of an exported network: seconds instead of milliseconds."""
        policy = replace(untuned_policy(len(spec.taps) + 1), score=score)
        samples = dict(zip((i.name for i in spec.inputs), example_inputs(spec.inputs, 2), strict=True))
        checkpoint = Checkpoint(
            CheckpointRecord(spec, TrainingSettings("none", 0, 0, 0, 0.0), None, policy), net.state_dict(), samples
        )
        with temporary_bundle(checkpoint, _CANDIDATE) as bundle:
            return self._target(bundle)

    def _price(self, target: PredictionTarget, net: EarlyExitNet, peak_memory_bytes: int | None) -> CandidateCosts:
        assert target.layout is not None
        parameters = count_parameters(net)
        if self._predictor is None:
            macs = {name: float(total_macs(kernels)) for name, kernels in target.graphs.items()}
            return CandidateCosts({MACS: target.layout.arrange(macs)}, parameters, peak_memory_bytes)
        graphs = {name: self._predictor.graph(name, kernels) for name, kernels in target.graphs.items()}
        price = self._predictor.cascade(target.layout, graphs)
        return CandidateCosts(price.costs, parameters, peak_memory_bytes, price.energy_scope, price.energy_provenance)


def costs_of(price: CandidateCosts, objective: str, device: str) -> CascadeCosts:
    """Return the costs in the unit of `objective`.

    Raises:
        MissingError: the device's table has no figures for it.
    """
    if objective not in price.costs:
        raise MissingError(
            f"{device} has no table or power figures for {objective}",
            "`eetool devices` lists the figures of each device.",
        )
    return price.costs[objective]


def least_figures(price: CandidateCosts) -> dict[str, float]:
    """Return lower bounds that hold for all thresholds, by the name of the limit.

    A mean is at least the cost of the cheapest exit, and the worst case at least the cost of full depth without gates.
    """
    means = {name: _cheapest_exit(costs) for name, costs in price.costs.items()}
    worst = {
        f"worst_{name}": float(price.costs[name].leaving((None,) * price.costs[name].early)[-1])
        for name in (MACS, LATENCY)
        if name in price.costs
    }
    memory = {} if price.peak_memory_bytes is None else {"peak_memory_bytes": float(price.peak_memory_bytes)}
    return {**means, **worst, **memory, "parameters": float(price.parameters)}


def every_exit_can_save(costs: CascadeCosts) -> bool:
    """Return whether leaving at each exit costs less than going on to the next one without this exit.

    No threshold makes an exit save anything where it does not. NACHOS places its branches by this rule.
    """
    every = (0.0,) * costs.early
    with_exit = costs.leaving(every)
    return all(
        with_exit[exit_] < costs.leaving((*every[:exit_], None, *every[exit_ + 1 :]))[exit_ + 1]
        for exit_ in range(costs.early)
    )


def _cheapest_exit(costs: CascadeCosts) -> float:
    choices = [tuple(0.0 if i == exit_ else None for i in range(costs.early)) for exit_ in range(costs.early + 1)]
    return min(float(costs.leaving(choice)[i]) for i, choice in enumerate(choices))
