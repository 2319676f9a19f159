"""Predicted latency and energy of graphs and cascades on a device, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eetool.latency.build.plain_calls import plain_call_ms
from eetool.latency.estimate.cascade_cost import CascadeLayout
from eetool.latency.estimate.cascade_price import LATENCY, MACS, CascadePrice, price_cascade
from eetool.latency.estimate.coverage import KindCoverage, UnprobedKernels, coverage, unknown_shares, unprobed
from eetool.latency.estimate.energy import Energy
from eetool.latency.estimate.graph_cost import GraphCost
from eetool.latency.estimate.power_model import board_power_w, estimate_energy
from eetool.latency.estimate.prediction_target import EXIT_PATH, PredictionTarget
from eetool.latency.kernels.from_onnx import total_macs, unknown_operators
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.hw_profile import HwProfile
from eetool.latency.table.intervals import CONFIDENCE, deviation_of_sum, latency_interval
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.weight_streaming import reused_mb, weight_mb
from eetool.metrics import Thresholds

SCHEMA = "predict/2"
PREDICTED = "predicted"
BOUND_BUFFERS = "bound_buffers"


@dataclass(frozen=True)
class ExitCost:
    """Cost of leaving at `exit`: every component that ran, and the runtime's own time."""

    exit: int
    macs: int
    latency_ms: float
    interval_ms: tuple[float, ...]
    energy_mj: Energy


@dataclass(frozen=True)
class MeanCost:
    """Mean cost over the inputs that an operating point was fitted on, by the shares that left at each exit."""

    operating_point: str
    exit_shares: tuple[float, ...]
    latency_ms: float
    interval_ms: tuple[float, ...]
    energy_mj: Energy


@dataclass(frozen=True)
class Prediction:
    """The figures of the document `predict/2`.

    Attributes:
        backend: backend of the table's figures, as are `precision` and `threads`; `warnings` state where others were
            asked for.
        batch: number of examples of one call, by which everything is counted.
        coverage: what the price of each kind of kernel rests on.
        reason: why there are no figures; null where there are.
        unprobed: kernels that no probe of the table is near to; empty for tables of regressions alone.
        protocol: how the predicted calls are made: with bound buffers, as the runtime makes them.
    """

    device: str
    provenance: str
    model: str
    variant: str
    backend: str
    precision: str
    threads: int
    confidence: float
    graphs: tuple[GraphCost, ...]
    exits: tuple[ExitCost, ...]
    means: tuple[MeanCost, ...]
    warnings: tuple[str, ...]
    batch: int = 1
    coverage: tuple[KindCoverage, ...] = ()
    reason: str | None = None
    unprobed: tuple[UnprobedKernels, ...] = ()
    protocol: str = BOUND_BUFFERS


class Predictor:
    """Predictions for one device, backend, precision and thread count.

    Args:
        watts: power of the board. Energy is estimated from it where given, else predicted from the table, else
            estimated from the device's published power.

    Raises:
        MissingError: the device has no table.
    """

    def __init__(
        self, profile: HwProfile, backend: str, precision: str, threads: int, watts: float | None = None
    ) -> None:
        self.profile, self._precision = profile, precision
        self.kernel_costs = KernelCosts(profile.latency, profile.name, backend, precision, threads)
        self._watts = watts
        # The table may hold figures of another thread count than was asked for.
        self._power_w = board_power_w(profile, self.kernel_costs.threads) if watts is None else watts

    @property
    def missing_precision(self) -> str | None:
        """Reason why this precision cannot be predicted; None where it can.

        Another precision's figures would point the wrong way: int8 graphs have more operators than fp32 ones, so with
        the costs of fp32 they would be slower, while devices run them faster.
        """
        wanted, held = self._precision, self.kernel_costs.precision
        if wanted == held:
            return None
        return (
            f"{self.profile.name} has no {wanted} table, and a figure from its {held} table would point the wrong way"
        )

    @property
    def states_error(self) -> bool:
        """Whether the table states its error on whole networks."""
        return self.kernel_costs.composition.cv_error > 0 and self.kernel_costs.composition.n > 0

    @property
    def channel_block(self) -> int:
        """Channels per block of the device's convolutions, for `kernels_from_graph`."""
        return self.kernel_costs.composition.channel_block

    def graph(self, name: str, kernels: Sequence[Kernel], kind: str = "graph", io_mb: float | None = None) -> GraphCost:
        """Return the cost of one call of a graph of these kernels.

        Args:
            name: name of the graph.
            kernels: its kernels.
            kind: `graph`, or the kind of a component.
            io_mb: megabytes of its inputs and outputs, for the cost of a plain call; None where it has none.
        """
        composition = self.kernel_costs.composition
        priced = [self.kernel_costs.latency(kernel) for kernel in kernels]
        total = composition.dispatch_ms + sum(p.value + composition.step_ms for p in priced)
        total += composition.streaming_ms(kernels)
        common = total * float(np.hypot(composition.network_error, composition.speed_error or 0.0))
        deviation = deviation_of_sum([p.value * p.deviation for p in priced], common)
        measured = sum(p.value + composition.step_ms for p in priced if p.measured)
        return GraphCost(
            name=name,
            kind=kind,
            macs=total_macs(list(kernels)),
            kernels=len(kernels),
            latency_ms=total,
            interval_ms=latency_interval(total, deviation),
            energy_mj=self._energy(kernels, total),
            measured_share=measured / total if total > 0 else 0.0,
            unknown_operators=tuple(unknown_operators(list(kernels))),
            weight_mb=weight_mb(kernels),
            reused_mb=reused_mb(kernels),
            plain_call_ms=None if io_mb is None else plain_call_ms(composition, total, io_mb),
        )

    def _energy(self, kernels: Sequence[Kernel], latency_ms: float) -> Energy:
        scope, dispatch_mj = self.kernel_costs.scope, self.kernel_costs.composition.dispatch_mj
        priced = [self.kernel_costs.energy(kernel) for kernel in kernels]
        if self._watts is not None or scope is None or any(p is None for p in priced):
            return estimate_energy(self._power_w, latency_ms)
        return Energy((dispatch_mj or 0.0) + sum(p.value for p in priced if p is not None), PREDICTED, scope)

    def cascade(self, layout: CascadeLayout, graphs: Mapping[str, GraphCost]) -> CascadePrice:
        """Return the costs of a cascade of these graphs."""
        return price_cascade(layout, graphs, self.kernel_costs.composition)


def predict(target: PredictionTarget, predictor: Predictor) -> Prediction:
    """Return the figures of `target`, or none and the reason."""
    if predictor.missing_precision is not None:
        return _without_figures(target, predictor, predictor.missing_precision)
    graphs = {
        name: predictor.graph(name, kernels, target.kinds[name], target.io_mb.get(name))
        for name, kernels in target.graphs.items()
    }
    exits: tuple[ExitCost, ...] = ()
    means: tuple[MeanCost, ...] = ()
    if EXIT_PATH in target.kinds.values():
        exits = tuple(
            ExitCost(index, cost.macs, cost.latency_ms, cost.interval_ms, cost.energy_mj)
            for index, cost in enumerate(graphs.values())
        )
    if target.layout is not None:
        cascade = predictor.cascade(target.layout, graphs)
        exits = _exit_costs(cascade, (0.0,) * len(target.layout.heads))
        means = tuple(
            mean_cost(cascade, name, point.thresholds, tuple(point.expected.exit_shares))
            for name, point in target.operating_points.items()
            if point.expected is not None
        )
    unknown = sorted({op for graph in graphs.values() for op in graph.unknown_operators})
    counted = {kernel.ops[0] for kernels in target.graphs.values() for kernel in kernels if kernel.macs and kernel.ops}
    shares = unknown_shares((k for kernels in target.graphs.values() for k in kernels), predictor.kernel_costs)
    guessed = [
        f"unknown operator {op}: {_guess_basis(op in counted)}, with a wide interval; {shares[op]:.0%} of the time"
        for op in unknown
    ]
    return Prediction(
        device=predictor.profile.name,
        provenance=PREDICTED,
        model=target.name,
        variant=target.variant,
        backend=predictor.kernel_costs.backend,
        precision=predictor.kernel_costs.precision,
        threads=predictor.kernel_costs.threads,
        confidence=CONFIDENCE,
        graphs=tuple(graphs.values()),
        exits=exits,
        means=means,
        warnings=(*predictor.kernel_costs.warnings, *target.warnings, *_unstated_error(predictor), *guessed),
        batch=target.batch,
        coverage=coverage((k for kernels in target.graphs.values() for k in kernels), predictor.kernel_costs),
        unprobed=unprobed((k for kernels in target.graphs.values() for k in kernels), predictor.kernel_costs),
    )


def _unstated_error(predictor: Predictor) -> tuple[str, ...]:
    if predictor.states_error:
        return ()
    return (
        f"the profile of {predictor.profile.name} states no error of whole networks: ratios may be wrong by a "
        "factor of seven, and other intervals are too narrow; `eetool table build` makes one that states it",
    )


def _without_figures(target: PredictionTarget, predictor: Predictor, reason: str) -> Prediction:
    return Prediction(
        device=predictor.profile.name,
        provenance=PREDICTED,
        model=target.name,
        variant=target.variant,
        backend=target.backend,
        precision=target.precision,
        threads=predictor.kernel_costs.threads,
        confidence=CONFIDENCE,
        graphs=(),
        exits=(),
        means=(),
        warnings=target.warnings,
        batch=target.batch,
        reason=reason,
    )


def _guess_basis(counted: bool) -> str:
    return "priced by its MACs and the bytes it moves" if counted else "its MACs are not known; priced by the bytes"


def _exit_costs(cascade: CascadePrice, thresholds: Thresholds) -> tuple[ExitCost, ...]:
    macs, latency_ms = (cascade.costs[unit].leaving(thresholds) for unit in (MACS, LATENCY))
    half_widths_ms = cascade.half_widths_ms.leaving(thresholds)
    return tuple(
        ExitCost(index, round(float(macs[index])), float(total), _around(float(total), float(half)), energy)
        for index, (total, half, energy) in enumerate(
            zip(latency_ms, half_widths_ms, cascade.energies(thresholds), strict=True)
        )
    )


def mean_cost(cascade: CascadePrice, name: str, thresholds: Thresholds, shares: tuple[float, ...]) -> MeanCost:
    """Return the mean cost over inputs that leave in these shares."""
    total = float(np.dot(shares, cascade.costs[LATENCY].leaving(thresholds)))
    half = float(np.dot(shares, cascade.half_widths_ms.leaving(thresholds)))
    return MeanCost(name, shares, total, _around(total, half), cascade.mean_energy(thresholds, shares))


def _around(total: float, half_width: float) -> tuple[float, float]:
    return max(0.0, total - half_width), total + half_width
