"""Predicted cost of one call of one graph."""

from dataclasses import dataclass

from eetool.latency.estimate.energy import Energy


@dataclass(frozen=True)
class GraphCost:
    """Cost of one call of one graph.

    Attributes:
        interval_ms: 90 % interval of the latency, as far as the table's errors are known.
        measured_share: share of the latency that rests on measured entries of exactly these kernels.
        unknown_operators: operators without a kernel model, priced by the bytes that they move.
        plain_call_ms: latency of a call without bound buffers, as `InferenceSession.run` makes it; null for components,
            which the runtime calls with bound ones, and where the table has no figures of such calls.
        weight_mb: megabytes of weights, which graphs that run in turn evict from the caches.
        reused_mb: those of kernels that use each weight more than four times.
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
    reused_mb: float = 0.0
    plain_call_ms: float | None = None

    @property
    def half_width_ms(self) -> float:
        """Half of the width of the interval."""
        return (self.interval_ms[1] - self.interval_ms[0]) / 2
