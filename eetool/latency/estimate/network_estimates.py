"""Latency of complete networks on a device: a model unsplit and at its operating points, and networks beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eetool.latency.estimate.energy import Energy
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.latency_breakdown import (
    LatencyBreakdown,
    graph_breakdown,
    point_breakdown,
    ratio_interval,
)
from eetool.latency.estimate.prediction_target import UNSPLIT, PredictionTarget
from eetool.latency.estimate.predictor import Predictor, mean_cost
from eetool.latency.kernels.kernel import Kernel
from eetool.metrics import Thresholds


@dataclass(frozen=True)
class PointPlan:
    """Thresholds of an operating point, and the shares of `n` inputs that leave at each exit with them."""

    thresholds: Thresholds
    exit_shares: tuple[float, ...]
    n: int


@dataclass(frozen=True)
class NetworkEstimate:
    """Mean latency of one network on a device.

    Attributes:
        interval_ms: interval of 90 %.
        breakdown: the latency by kernel, for ratios.
        exit_shares: of an operating point; null for a network without early exits.
        unknown_operators: operators without a kernel model.
    """

    name: str
    latency_ms: float
    interval_ms: tuple[float, float]
    energy_mj: Energy
    breakdown: LatencyBreakdown
    exit_shares: tuple[float, ...] | None = None
    unknown_operators: tuple[str, ...] = ()

    def ratio_to(self, other: "NetworkEstimate", predictor: Predictor) -> tuple[float, float, float]:
        """Return the ratio of the latencies, and its 95 % interval."""
        return ratio_interval(self.breakdown, other.breakdown, predictor.kernel_costs.composition)


def estimate_graph(name: str, kernels: Sequence[Kernel], predictor: Predictor) -> NetworkEstimate:
    """Return the estimate of a network that is one graph."""
    cost = predictor.graph(name, kernels)
    breakdown = graph_breakdown(kernels, predictor)
    return NetworkEstimate(
        name, cost.latency_ms, _bounds(cost), cost.energy_mj, breakdown, None, cost.unknown_operators
    )


def estimate_networks(
    target: PredictionTarget, predictor: Predictor, plans: Mapping[str, PointPlan] | None = None
) -> list[NetworkEstimate]:
    """Return the estimates of a model: unsplit first, then every operating point.

    Args:
        target: the model; of an ONNX file, or of another model without a layout, there is one estimate.
        predictor: the device.
        plans: operating points; by default those of the model with the figures that they were fitted with.
    """
    if target.layout is None:
        return [estimate_graph(name, kernels, predictor) for name, kernels in target.graphs.items()]
    if plans is None:
        plans = recorded_plans(target)
    graphs = {name: predictor.graph(name, kernels, target.kinds[name]) for name, kernels in target.graphs.items()}
    price = predictor.cascade(target.layout, graphs)
    estimates = [estimate_graph(UNSPLIT, target.unsplit, predictor)]
    for name, plan in plans.items():
        cost = mean_cost(price, name, plan.thresholds, plan.exit_shares)
        breakdown = point_breakdown(target, price, predictor, plan.thresholds, plan.exit_shares, plan.n)
        low, high = cost.interval_ms
        estimates.append(
            NetworkEstimate(name, cost.latency_ms, (low, high), cost.energy_mj, breakdown, plan.exit_shares)
        )
    return estimates


def recorded_plans(target: PredictionTarget) -> dict[str, PointPlan]:
    """Return the operating points of a model with the exit shares of the examples that they were fitted on."""
    return {
        name: PointPlan(point.thresholds, tuple(point.expected.exit_shares), point.expected.n)
        for name, point in target.operating_points.items()
        if point.expected is not None
    }


def _bounds(cost: GraphCost) -> tuple[float, float]:
    low, high = cost.interval_ms
    return low, high
