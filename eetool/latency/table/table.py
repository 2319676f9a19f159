"""Records of a latency table: entries per fused kernel, regressions per kind, and the composition of a graph.

    latency of a graph = dispatch_ms + sum over its kernels of (latency_ms + step_ms)

Entries and regressions give the latency of a kernel. A composition gives the other two terms. Each record holds for
one backend, one precision and one thread count, and names the source of its figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from eetool.errors import UsageError
from eetool.latency.kernels.kernel import FP32, INT8, Kernel, work
from eetool.latency.table.weight_streaming import WeightStreaming, reused_mb, weight_mb

MEASURED, FITTED = "measured", "fitted"
KINDS = (MEASURED, FITTED)
SCOPES = ("board_gross", "board_net", "core_net")
PRECISIONS = (FP32, INT8)
ONNXRUNTIME, LITERT = "onnxruntime", "litert"
BACKENDS = {"onnx": ONNXRUNTIME, "tflite": LITERT}  # the backend that runs each format


def backend_of(variant: str) -> str:
    """Return the backend that runs a variant; raises UsageError where no table has its latencies."""
    backend = BACKENDS.get(variant.split("/")[0])
    if backend is None:
        raise UsageError(
            f"no latency of {variant} can be predicted from a table", f"Tables are of {', '.join(BACKENDS)} variants."
        )
    return backend


@dataclass(frozen=True)
class KernelEnergy:
    """Energy of one run of a kernel, and the scope that it covers."""

    energy_mj: float
    scope: str


@dataclass(frozen=True)
class TableEntry:
    """Latency of one fused kernel on a device: `measured` (count, median, spread) or `fitted` (latency, n, error).

    Attributes:
        kind: `measured` or `fitted`.
        kernel: kind of the fused kernel, as `eetool.latency.kernels.kernel` lists them.
        shape: sizes of the fused kernel.
        precision: `fp32` or `int8`.
        backend: `onnxruntime` or `litert`.
        threads: thread count.
        source: id of one of the profile's sources.
        count: number of timed runs of a measured entry.
        median_ms: median latency of a measured entry.
        spread_ms: median absolute deviation of a measured entry, not scaled.
        latency_ms: latency of a fitted entry.
        n: number of measurements behind a fitted entry.
        cv_error: cross-validated relative error of the fit.
        energy: absent where it is unknown; unknown is never 0.
    """

    kind: str
    kernel: str
    shape: dict[str, int]
    precision: str
    backend: str
    threads: int
    source: str
    count: int | None = None
    median_ms: float | None = None
    spread_ms: float | None = None
    latency_ms: float | None = None
    n: int | None = None
    cv_error: float | None = None
    energy: KernelEnergy | None = None

    @property
    def ms(self) -> float:
        """Latency, measured or fitted."""
        ms = self.median_ms if self.kind == MEASURED else self.latency_ms
        assert ms is not None  # checked when the table was read
        return ms

    @property
    def as_kernel(self) -> Kernel:
        """Kernel of this entry."""
        return Kernel(self.kernel, self.shape, self.precision)


@dataclass(frozen=True)
class Regression:
    """Latency model of one kernel kind: constant_ms + ms_per_mmac × 10⁻⁶ MACs + ms_per_mb × 10⁻⁶ bytes moved.

    Bytes moved are the bytes read, written and held as weights. `energy` has the same form in mJ. A kind may have a
    second model with `pointwise`, for convolutions with a 1×1 window.
    """

    kernel: str
    precision: str
    backend: str
    threads: int
    source: str
    constant_ms: float
    ms_per_mmac: float
    ms_per_mb: float
    n: int
    cv_error: float
    energy: "RegressionEnergy | None" = None
    pointwise: bool | None = None

    def ms(self, kernel: Kernel) -> float:
        """Return the latency of a kernel of this kind."""
        done = work(kernel)
        return self.constant_ms + self.ms_per_mmac * done.macs / 1e6 + self.ms_per_mb * done.moved_bytes / 1e6


@dataclass(frozen=True)
class RegressionEnergy:
    """Energy model of one kernel kind, in the form of the latency model."""

    constant_mj: float
    mj_per_mmac: float
    mj_per_mb: float
    scope: str

    def mj(self, kernel: Kernel) -> float:
        """Return the energy of a kernel of this kind in mJ."""
        done = work(kernel)
        return self.constant_mj + self.mj_per_mmac * done.macs / 1e6 + self.mj_per_mb * done.moved_bytes / 1e6


@dataclass(frozen=True)
class Composition:
    """Cost of a graph besides its kernels, and cost of a cascade besides its graphs.

    Attributes:
        precision: `fp32` or `int8`.
        backend: `onnxruntime` or `litert`.
        threads: thread count.
        source: id of one of the profile's sources.
        dispatch_ms: cost of one call of one graph, whatever it contains.
        step_ms: cost of every kernel besides its own time.
        call_ms: cost that the cascade adds to every call.
        runtime_ms: cost that the cascade adds to every component that runs.
        turn_ms: additional cost of a call after another graph ran; absent where it was not measured.
        turn_ms_per_mb: additional cost per megabyte of weights that the other graph evicted from the caches, at most
            as many as the graph has; absent where it was not measured.
        channel_block: channels per block where convolutions keep their tensors in blocks of channels; otherwise 1.
        dispatch_mj: energy of one call of one graph, in the scope of the entries; absent where it is unknown.
        n: number of whole graphs that were compared with the sum of their kernels; 0 without such a comparison.
        cv_error: cross-validated relative error of those sums, included in every interval of a prediction.
        component_ms: cost of every graph of a cascade after the first, in place of `dispatch_ms`; absent where it is
            the same.
        component_error_ms: half of the 90 % interval of `component_ms`, where it was not measured on the device.
        turn_error_ms_per_mb: half of the 90 % interval of `turn_ms_per_mb`, likewise.
        cascade_source: id of the source of these figures of cascades, where it is another.
        ratio_error: cross-validated relative deviation of the latency ratio of two networks of the same kernels.
        family_error: relative standard deviation of whole networks of families that the table does not know, such that
            90 % intervals held nine of ten of them; absent in tables that did not leave families out.
        plain_ms: additional cost of a call without bound buffers, as `InferenceSession.run` makes it; absent where it
            was not measured.
        plain_ms_per_mb: the same per megabyte of inputs and outputs.
        speed_error: relative standard deviation of the speed of the device now, where a check found it uncertain; it
            is common to all networks, so ratios do not have it.
        streaming: cost of weights that caches do not hold from one call to the next; absent where it was not measured.
    """

    precision: str
    backend: str
    threads: int
    source: str
    dispatch_ms: float
    n: int
    cv_error: float
    step_ms: float = 0.0
    call_ms: float = 0.0
    runtime_ms: float = 0.0
    channel_block: int = 1
    dispatch_mj: float | None = None
    turn_ms: float | None = None
    turn_ms_per_mb: float | None = None
    component_ms: float | None = None
    component_error_ms: float | None = None
    turn_error_ms_per_mb: float | None = None
    cascade_source: str | None = None
    ratio_error: float | None = None
    family_error: float | None = None
    plain_ms: float | None = None
    plain_ms_per_mb: float | None = None
    speed_error: float | None = None
    streaming: WeightStreaming | None = None

    def streaming_ms(self, kernels: Sequence[Kernel]) -> float:
        """Return the cost of weights of a graph of these kernels that do not stay in the caches."""
        if self.streaming is None:
            return 0.0
        return self.streaming.ms(reused_mb(kernels), len(kernels), weight_mb(kernels))

    @property
    def network_error(self) -> float:
        """Relative standard deviation that all of a network has, besides the deviations of its kernels."""
        if self.family_error is not None:
            return self.family_error
        return 1.4826 * self.cv_error  # median error to standard deviation of a normal distribution

    @property
    def component_dispatch_ms(self) -> float:
        """Dispatch cost of every graph of a cascade after the first."""
        return self.dispatch_ms if self.component_ms is None else self.component_ms


@dataclass(frozen=True)
class ReferenceProbe:
    """A probe that is measured again to check a table.

    Attributes:
        name: family and seed, as of a `ProbeNetwork`.
        fingerprint: of its operators and sizes; another version of eetool may draw another network by this name.
        latency_ms: median latency when the table was built.
        shares: share of that latency by speed class of its kernels.
    """

    name: str
    fingerprint: str
    latency_ms: float
    shares: dict[str, float]


@dataclass(frozen=True)
class ReferenceSet:
    """Reference probes of one backend, precision and thread count."""

    precision: str
    backend: str
    threads: int
    source: str
    probes: tuple[ReferenceProbe, ...]


@dataclass(frozen=True)
class LatencyTable:
    """All entries, regressions and compositions of a device, the ids of their sources, and its reference probes."""

    entries: tuple[TableEntry, ...] = ()
    regressions: tuple[Regression, ...] = ()
    compositions: tuple[Composition, ...] = ()
    sources: frozenset[str] = field(default_factory=frozenset)
    references: tuple[ReferenceSet, ...] = ()
