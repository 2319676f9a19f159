"""Predicted costs of a cascade, in every unit that the device's table has figures for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts, CascadeLayout
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.table.table import Composition
from eetool.latency.table.weight_streaming import WeightStreaming

MACS, LATENCY, ENERGY = "macs", "latency_ms", "energy_mj"


@dataclass(frozen=True)
class CascadePrice:
    """Costs by unit; a unit without figures is absent, MACs and latency never are.

    Attributes:
        half_widths_ms: half-widths of latency intervals. Errors of components add up: they share one table.
        call_errors_ms: the part of them that calls and caches of a cascade have.
        energy_provenance, energy_scope: see `Energy`; null where energies are unknown.
    """

    costs: dict[str, CascadeCosts]
    half_widths_ms: CascadeCosts
    energy_provenance: str | None
    energy_scope: str | None
    call_errors_ms: CascadeCosts

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
    A graph after the first is dispatched for `component_ms`. Components that run in turn have the cache penalty of
    docs/decisions/0023, and weights that no cache holds cost a component what they cost a network of it and all before
    it (0068). The uncertainty of these figures, which all components share, adds to that of the graphs.
    """
    more_ms = composition.component_dispatch_ms - composition.dispatch_ms
    step_ms = composition.runtime_ms + more_ms
    streaming = composition.streaming
    weights_mb = {name: graph.weight_mb for name, graph in graphs.items()}
    so_far_mb = layout.running_sums(weights_mb)
    more_ms_of = {name: _more_streaming_ms(graphs[name], total_mb, streaming) for name, total_mb in so_far_mb.items()}
    latency = layout.arrange({name: graphs[name].latency_ms + step_ms + more for name, more in more_ms_of.items()})
    penalty = layout.cache_penalty(weights_mb, composition.turn_ms or 0.0, composition.turn_ms_per_mb or 0.0)
    costs = {
        MACS: layout.arrange({name: float(graph.macs) for name, graph in graphs.items()}),
        LATENCY: replace(latency, call=composition.call_ms - more_ms, cache=penalty),
    }
    energies = {name: graph.energy_mj for name, graph in graphs.items()}
    millijoules = {name: energy.value for name, energy in energies.items() if energy.value is not None}
    energy = UNKNOWN
    if len(millijoules) == len(energies):
        costs[ENERGY], energy = layout.arrange(millijoules), next(iter(energies.values()))
    calls = _call_errors(layout, weights_mb, composition)
    return CascadePrice(
        costs, _half_widths(layout, graphs, calls), energy.provenance, energy.scope, call_errors_ms=calls
    )


def _more_streaming_ms(graph: GraphCost, total_mb: float, streaming: WeightStreaming | None) -> float:
    """Return the cost of weights that do not stay where `total_mb` ran, beyond that of the graph alone."""
    if streaming is None:
        return 0.0
    alone, among = (streaming.ms(graph.reused_mb, graph.kernels, mb) for mb in (graph.weight_mb, total_mb))
    return among - alone


def _call_errors(layout: CascadeLayout, weights_mb: Mapping[str, float], composition: Composition) -> CascadeCosts:
    """Return half-widths of the cost of calls and caches, which a graph alone does not have."""
    component_ms = composition.component_error_ms or 0.0
    calls = layout.arrange(dict.fromkeys(weights_mb, component_ms))
    penalty = layout.cache_penalty(weights_mb, 0.0, composition.turn_error_ms_per_mb or 0.0)
    return replace(calls, call=-component_ms, cache=penalty)


def _half_widths(layout: CascadeLayout, graphs: Mapping[str, GraphCost], calls: CascadeCosts) -> CascadeCosts:
    halves = layout.arrange({name: graph.half_width_ms for name, graph in graphs.items()})
    trunk, heads = (
        tuple(a + b for a, b in zip(*pair, strict=True))
        for pair in ((halves.trunk, calls.trunk), (halves.heads, calls.heads))
    )
    return replace(halves, trunk=trunk, heads=heads, cache=calls.cache, call=calls.call)
