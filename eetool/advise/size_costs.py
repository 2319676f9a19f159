"""Costs of one network at several sizes of photographs, and of cascades of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eetool.advise.exit_costs import Price, cascade_costs, graph_cost, network_target, price
from eetool.latency.estimate.cascade_cost import CascadeCosts, CascadeLayout
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.predictor import Predictor
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import ModelSpec


@dataclass(frozen=True)
class SizedNetwork:
    """The network at one size of photographs; `place` is its position among all, from small to large."""

    place: int
    size: int


class SizeCosts:
    """Costs of the network without exits at each size; MACs without a predictor. Resizing is not in them.

    Args:
        networks: spec and network of each size, from small to full.
        predictor: predictor of the device.
    """

    def __init__(
        self, networks: Mapping[SizedNetwork, tuple[ModelSpec, EarlyExitNet]], predictor: Predictor | None
    ) -> None:
        self._predictor = predictor
        self._graphs = {one: _cost(spec, net, predictor) for one, (spec, net) in networks.items()}
        self._full = max(networks, key=lambda one: one.place)

    @property
    def unsplit(self) -> Price:
        """Cost at the full size."""
        return self.alone(self._full)

    def alone(self, one: SizedNetwork) -> Price:
        """Return the cost at one size."""
        graph = self._graphs[one]
        return Price(float(graph.macs), 0.0) if self._predictor is None else price(graph)

    def cascade(self, exits: Sequence[SizedNetwork]) -> CascadeCosts:
        """Return the costs of the networks at these sizes in front of the one at the full size."""
        graphs = {str(one.size): self._graphs[one] for one in (*exits, self._full)}
        layout = CascadeLayout(
            trunk=(*((),) * len(exits), (str(self._full.size),)),
            heads=tuple(str(one.size) for one in exits),
            restarts=frozenset(range(1, len(exits) + 1)),
        )
        return cascade_costs(layout, graphs, self._predictor)

    def ratio_deviation(self, exits: Sequence[SizedNetwork], shares: Sequence[float], ratio: float) -> float:
        """Return the standard deviation of (mean cost / cost at the full size) that comes from the table.

        Errors at two sizes are taken to be independent. They have the same kernels, so their errors are similar and
        partly cancel: the interval is rather too wide.
        """
        reach = [float(sum(shares[i:])) for i in range(len(shares))]
        smaller = [share * self.alone(one).deviation for share, one in zip(reach, exits, strict=False)]
        full = (reach[-1] - ratio) * self.unsplit.deviation
        return float(np.hypot.reduce([*smaller, full]) / max(self.unsplit.value, 1e-12))


def _cost(spec: ModelSpec, net: EarlyExitNet, predictor: Predictor | None) -> GraphCost:
    target = network_target(spec, net, predictor)
    return graph_cost(spec.backbone, [k for kernels in target.graphs.values() for k in kernels], predictor)
