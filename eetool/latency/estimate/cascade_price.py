"""Predicted costs of a cascade, in every unit that the device's table has figures for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts, CascadeLayout
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.table.table import Composition

MACS, LATENCY, ENERGY = "macs", "latency_ms", "energy_mj"


@dataclass(frozen=True)
class CascadePrice:
    """Costs by unit; a unit without figures is absent, MACs and latency never are.

    Attributes:
        half_widths_ms: half-widths of latency intervals. Errors of components add up: they share one table.
        energy_provenance, energy_scope: see `Energy`; null where energies are unknown.
    """

    costs: dict[str, CascadeCosts]
    half_widths_ms: CascadeCosts
    energy_provenance: str | None
    energy_scope: str | None

    def energies(self, thresholds: tuple[float | None, ...]) -> tuple[Energy, ...]:
        """Return the energy of leaving at each exit."""
        costs = self.costs.get(ENERGY)
        if costs is None:
            return (UNKNOWN,) * len(self.costs[MACS].trunk)
        return tuple(self.energy(float(value)) for value in costs.leaving(thresholds))

    def mean_energy(self, thresholds: tuple[float | None, ...], shares: tuple[float, ...]) -> Energy:
        """Return the mean energy over inputs that leave in these shares."""
        costs = self.costs.get(ENERGY)
        return UNKNOWN if costs is None else self.energy(float(np.dot(shares, costs.leaving(thresholds))))

    def energy(self, millijoules: float) -> Energy:
        """Return an energy of this cascade with its provenance and scope."""
        return Energy(millijoules, self.energy_provenance, self.energy_scope)


def price_cascade(layout: CascadeLayout, graphs: Mapping[str, GraphCost], composition: Composition) -> CascadePrice:
    """Add up a cascade: the only place where components, gates, dispatch and cache penalty become one cost.

    Every component costs its graph and `runtime_ms`, which is the runtime's step and gate. Every call costs `call_ms`.
    Components that run in turn have the cache penalty of docs/decisions/0023.
    """
    latency = layout.arrange({name: graph.latency_ms + composition.runtime_ms for name, graph in graphs.items()})
    first, *others = latency.trunk
    weights_mb = {name: graph.weight_mb for name, graph in graphs.items()}
    penalty = layout.cache_penalty(weights_mb, composition.turn_ms or 0.0, composition.turn_ms_per_mb or 0.0)
    costs = {
        MACS: layout.arrange({name: float(graph.macs) for name, graph in graphs.items()}),
        LATENCY: replace(latency, trunk=(first + composition.call_ms, *others), cache=penalty),
    }
    energies = {name: graph.energy_mj for name, graph in graphs.items()}
    millijoules = {name: energy.value for name, energy in energies.items() if energy.value is not None}
    energy = UNKNOWN
    if len(millijoules) == len(energies):
        costs[ENERGY], energy = layout.arrange(millijoules), next(iter(energies.values()))
    half_widths = layout.arrange({name: graph.half_width_ms for name, graph in graphs.items()})
    return CascadePrice(costs, half_widths, energy.provenance, energy.scope)
