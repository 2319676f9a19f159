"""Latency and energy of graphs and cascades on a device, from its table, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eetool.latency.build.cache_penalty import evicted_mb, weight_mb
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.latency.estimate.power_model import board_power_w, estimate_energy
from eetool.latency.estimate.prediction_target import EXIT_PATH, PredictionTarget
from eetool.latency.kernels.from_onnx import total_macs, unknown_operators
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.hw_profile import HwProfile
from eetool.latency.table.kernel_costs import KernelCosts
from eetool_measure.results import components_run
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.manifest import Manifest, OperatingPoint

SCHEMA = "predict/1"
PREDICTED = "predicted"
CONFIDENCE = 0.9
_DEVIATIONS = 1.645  # of a normal distribution, to either side, for 90 %
_ALIKE = 0.3  # how far errors of kernels of one graph go together


@dataclass(frozen=True)
class GraphCost:
    """What one call of one graph costs. `interval_ms` holds it with 90 % confidence, as far as the table knows.

    Attributes:
        measured_share: share of the latency that rests on measured entries of exactly these kernels.
        weight_mb: megabytes of weights, which graphs that run in turn drive out of the caches.
        unknown_operators: those that nobody knows, priced by the bytes they move.
    """

    name: str
    kind: str
    macs: int
    kernels: int
    latency_ms: float
    interval_ms: tuple[float, ...]
    energy_mj: Energy
    measured_share: float
    unknown_operators: tuple[str, ...]
    weight_mb: float = 0.0


@dataclass(frozen=True)
class ExitCost:
    """What an input pays that leaves at `exit`: every component that ran, and what the runtime adds to each."""

    exit: int
    macs: int
    latency_ms: float
    interval_ms: tuple[float, ...]
    energy_mj: Energy


@dataclass(frozen=True)
class MeanCost:
    """The mean over inputs at an operating point, by the shares that left at each exit where it was fitted."""

    operating_point: str
    exit_shares: tuple[float, ...]
    latency_ms: float
    interval_ms: tuple[float, ...]
    energy_mj: Energy


@dataclass(frozen=True)
class Prediction:
    """The document `predict/1`. `table` names the conditions the table answered for, which warnings may explain."""

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


class Predictor:
    """Predicts for one device, backend, precision and thread count.

    `watts` is what the board draws: energy is then estimated from it, else from the table, else from the watts that
    were published of the device.

    Raises:
        MissingError: the device has no table.
    """

    def __init__(
        self, profile: HwProfile, backend: str, precision: str, threads: int, watts: float | None = None
    ) -> None:
        self.profile = profile
        self.book = KernelCosts(profile.latency, profile.name, backend, precision, threads)
        # Watts of the thread count that the latency is of, which may be another than was asked for.
        self._watts = watts
        self._power_w = board_power_w(profile, self.book.threads) if watts is None else watts

    @property
    def channel_block(self) -> int:
        """With what `detect` is to be called."""
        return self.book.composition.channel_block

    def graph(self, name: str, kernels: Sequence[Kernel], kind: str = "graph") -> GraphCost:
        """Cost of one call of a graph of these kernels."""
        composition = self.book.composition
        priced = [self.book.latency(kernel) for kernel in kernels]
        total = composition.dispatch_ms + sum(p.value + composition.step_ms for p in priced)
        common = 1.4826 * composition.cv_error * total  # of a median error, were errors normal
        deviation = _together([p.value * p.deviation for p in priced], common)
        measured = sum(p.value + composition.step_ms for p in priced if p.measured)
        return GraphCost(
            name=name,
            kind=kind,
            macs=total_macs(list(kernels)),
            kernels=len(kernels),
            latency_ms=total,
            interval_ms=_interval(total, deviation),
            energy_mj=self._energy(kernels, total),
            measured_share=measured / total if total > 0 else 0.0,
            unknown_operators=tuple(unknown_operators(list(kernels))),
            weight_mb=weight_mb(kernels),
        )

    def _energy(self, kernels: Sequence[Kernel], latency_ms: float) -> Energy:
        scope, dispatch_mj = self.book.scope, self.book.composition.dispatch_mj
        priced = [self.book.energy(kernel) for kernel in kernels]
        if self._watts is not None or scope is None or any(p is None for p in priced):
            return estimate_energy(self._power_w, latency_ms)
        return Energy((dispatch_mj or 0.0) + sum(p.value for p in priced if p is not None), PREDICTED, scope)

    def exits(self, manifest: Manifest, graphs: Mapping[str, GraphCost]) -> tuple[ExitCost, ...]:
        """What leaving at each exit costs, all heads before it having run."""
        return tuple(
            self._exit(index, [graphs[name] for name in components_run(manifest, index)])
            for index in range(len(manifest.exits))
        )

    def _exit(self, index: int, ran: Sequence[GraphCost]) -> ExitCost:
        composition = self.book.composition
        total = composition.call_ms + sum(graph.latency_ms + composition.runtime_ms for graph in ran)
        total += self._turns_ms([graph.weight_mb for graph in ran])
        # What the table gets wrong of one component it gets wrong of the next.
        half = sum((graph.interval_ms[1] - graph.interval_ms[0]) / 2 for graph in ran)
        energy = add_energies([graph.energy_mj for graph in ran])
        return ExitCost(index, sum(graph.macs for graph in ran), total, (max(0.0, total - half), total + half), energy)

    def _turns_ms(self, weights_mb: Sequence[float]) -> float:
        """What graphs that run one after the other cost more than each alone: they take each other's caches."""
        if len(weights_mb) < 2:
            return 0.0
        composition, total = self.book.composition, sum(weights_mb)
        driven_out = sum(evicted_mb(own, total - own) for own in weights_mb)
        return (composition.turn_ms or 0.0) * len(weights_mb) + (composition.turn_ms_per_mb or 0.0) * driven_out

    def mean(self, manifest: Manifest, point: str, policy: OperatingPoint, graphs: Mapping[str, GraphCost]) -> MeanCost:
        """Mean over the inputs that an operating point was fitted on; heads whose gate never fires do not run."""
        assert policy.expected is not None
        shares = policy.expected.exit_shares
        total, half, energies, ran = 0.0, 0.0, [], []
        for stage in plan_steps(manifest, policy.thresholds):
            ran.append(graphs[stage.component])
            if stage.gate is not None:
                cost, share = self._exit(stage.gate.exit_index, ran), shares[stage.gate.exit_index]
                total += share * cost.latency_ms
                half += share * (cost.interval_ms[1] - cost.interval_ms[0]) / 2
                energies.append(scale_energy(cost.energy_mj, share))
        return MeanCost(point, tuple(shares), total, (max(0.0, total - half), total + half), add_energies(energies))


def predict(subject: PredictionTarget, predictor: Predictor) -> Prediction:
    """The document for what `subject` holds, as `predictor` sees it."""
    graphs = {name: predictor.graph(name, kernels, subject.kinds[name]) for name, kernels in subject.graphs.items()}
    exits: tuple[ExitCost, ...] = ()
    means: tuple[MeanCost, ...] = ()
    if EXIT_PATH in subject.kinds.values():
        exits = tuple(
            ExitCost(index, cost.macs, cost.latency_ms, cost.interval_ms, cost.energy_mj)
            for index, cost in enumerate(graphs.values())
        )
    if subject.manifest is not None:
        exits = predictor.exits(subject.manifest, graphs)
        points = subject.manifest.variants[subject.variant].operating_points
        means = tuple(predictor.mean(subject.manifest, n, p, graphs) for n, p in points.items() if p.expected)
    unknown = sorted({op for graph in graphs.values() for op in graph.unknown_operators})
    doubts = [f"unknown operator {op}: priced by the bytes it moves, with a wide interval" for op in unknown]
    return Prediction(
        device=predictor.profile.name,
        provenance=PREDICTED,
        model=subject.name,
        variant=subject.variant,
        backend=predictor.book.backend,
        precision=predictor.book.precision,
        threads=predictor.book.threads,
        confidence=CONFIDENCE,
        graphs=tuple(graphs.values()),
        exits=exits,
        means=means,
        warnings=(*predictor.book.warnings, *subject.warnings, *doubts),
    )


def add_energies(parts: Sequence[Energy]) -> Energy:
    """The sum of energies of one scope; unknown where one of them is."""
    values = [part.value for part in parts if part.value is not None]
    if not parts or len(values) != len(parts):
        return UNKNOWN
    return Energy(sum(values), parts[0].provenance, parts[0].scope)


def scale_energy(energy: Energy, share: float) -> Energy:
    """A share of an energy; unknown stays unknown."""
    return energy if energy.value is None else Energy(energy.value * share, energy.provenance, energy.scope)


def _together(deviations: Sequence[float], common: float) -> float:
    """Deviation of a sum whose parts err partly alike, and of what the whole errs besides."""
    apart = sum(d * d for d in deviations)
    alike = sum(deviations) ** 2
    return float(((1 - _ALIKE) * apart + _ALIKE**2 * alike + common * common) ** 0.5)


def _interval(total: float, deviation: float) -> tuple[float, float]:
    """90 % interval of a positive figure: symmetric in its logarithm, so that it never reaches 0."""
    factor = 1 + _DEVIATIONS * deviation / max(total, 1e-12)
    return total / factor, total * factor
