"""The latency table of a device: entries per fused kernel, regressions per kind, and how kernels add up to a graph.

    latency of a graph = dispatch_ms + sum over its kernels of (latency_ms + step_ms)

Entries and regressions give the latency of a kernel, a composition the two others. All hold for one backend, one
precision and one thread count. Each names the source of its figures.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from eetool.errors import ArtefactError
from eetool.latency.kernels.kernel import FP32, INT8, Kernel, check_shape, work
from eetool.latency.kernels.kernel import KINDS as KERNELS

MEASURED, FITTED = "measured", "fitted"
KINDS = (MEASURED, FITTED)
SCOPES = ("board_gross", "board_net", "core_net")
PRECISIONS = (FP32, INT8)
ONNXRUNTIME, LITERT = "onnxruntime", "litert"
BACKENDS = {"onnx": ONNXRUNTIME, "tflite": LITERT}  # which backend runs which format
# Beyond these a figure has another unit than its name says: a kernel of ten minutes, or of a kilojoule.
_MAX_MS, _MAX_MJ = 6e5, 1e6


@dataclass(frozen=True)
class KernelEnergy:
    """Energy of one run of a kernel; `scope` says what it covers, as everywhere."""

    energy_mj: float
    scope: str


@dataclass(frozen=True)
class TableEntry:
    """One fused kernel on this device: `measured` (count, median, spread) or `fitted` (latency, n, its error).

    Attributes:
        kind: `measured` or `fitted`.
        kernel, shape: kind and sizes of the fused kernel, as `eetool.latency.kernels.kernel` lists them.
        source: id of one of the profile's sources.
        count, median_ms, spread_ms: of a measured entry; the spread is the MAD, not scaled.
        latency_ms, n, cv_error: of a fitted entry; how many measurements stand behind it, and the cross-validated
            relative error of the fit.
        energy: absent where nothing is known; unknown is never 0.
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
        assert ms is not None  # checked when it was read
        return ms

    @property
    def as_kernel(self) -> Kernel:
        """The kernel that this entry is about."""
        return Kernel(self.kernel, self.shape, self.precision)


@dataclass(frozen=True)
class Regression:
    """Latency of all kernels of one kind: constant_ms + ms_per_mmac × 10⁻⁶ MACs + ms_per_mb × 10⁻⁶ bytes moved.

    The bytes are those read, written and held as weights. `energy` has the same form in mJ.
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

    def ms(self, kernel: Kernel) -> float:
        """Latency of a kernel of this kind."""
        done = work(kernel)
        return self.constant_ms + self.ms_per_mmac * done.macs / 1e6 + self.ms_per_mb * done.moved_bytes / 1e6


@dataclass(frozen=True)
class RegressionEnergy:
    """Energy of all kernels of one kind, in the form of the latency."""

    constant_mj: float
    mj_per_mmac: float
    mj_per_mb: float
    scope: str

    def mj(self, kernel: Kernel) -> float:
        """Energy of a kernel of this kind."""
        done = work(kernel)
        return self.constant_mj + self.mj_per_mmac * done.macs / 1e6 + self.mj_per_mb * done.moved_bytes / 1e6


@dataclass(frozen=True)
class Composition:
    """How kernels add up to a graph, and graphs to a cascade.

    Attributes:
        dispatch_ms: one call of one graph, whatever is in it.
        step_ms: what every kernel costs besides its own time.
        call_ms, runtime_ms: what the cascade adds to every call, and to every component that runs in it.
        turn_ms, turn_ms_per_mb: what a graph costs more after another one ran: every call, and per megabyte of weights
            that the other drove out of the caches, no more than it has itself; absent where nobody measured.
        channel_block: channels per block where convolutions keep their tensors in blocks of channels; 1 where not.
        dispatch_mj: energy of one call of one graph, of the scope of the entries; absent where not known.
        n, cv_error: how many whole graphs were compared with the sum of their kernels, and the cross-validated
            relative error, which every interval of a prediction includes. n is 0 where nobody compared.
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


@dataclass(frozen=True)
class LatencyTable:
    """All that is known of the latency of kernels on a device."""

    entries: tuple[TableEntry, ...] = ()
    regressions: tuple[Regression, ...] = ()
    compositions: tuple[Composition, ...] = ()
    sources: frozenset[str] = field(default_factory=frozenset)


def check_table(table: LatencyTable, where: str) -> None:
    """Raise ArtefactError, naming the field, where a table contradicts itself or holds a figure that cannot be."""
    for i, entry in enumerate(table.entries):
        _check_entry(entry, f"{where}: table[{i}]", table.sources)
    for i, regression in enumerate(table.regressions):
        _check_regression(regression, f"{where}: regressions[{i}]", table.sources)
    for i, composition in enumerate(table.compositions):
        _check_composition(composition, f"{where}: compositions[{i}]", table.sources)
    _check_unique(table.entries, f"{where}: table")
    _check_scopes(table, where)


def _check_entry(entry: TableEntry, at: str, sources: frozenset[str]) -> None:
    _one_of(entry.kind, KINDS, f"{at}.kind")
    _check_conditions(entry, at, sources)
    check_shape(entry.kernel, entry.shape, f"{at}.shape")
    measured = (entry.count, entry.median_ms, entry.spread_ms)
    fitted = (entry.latency_ms, entry.n, entry.cv_error)
    own, other = (measured, fitted) if entry.kind == MEASURED else (fitted, measured)
    _require(None not in own, f"{at}: a {entry.kind} entry lacks one of its figures")
    _require(set(other) == {None}, f"{at}: a {entry.kind} entry holds a figure of the other kind")
    for figure in own:
        _number(figure, at)
    _require((entry.count or entry.n or 0) >= 1, f"{at}: no measurement stands behind it")
    _require(entry.ms <= _MAX_MS, f"{at}: {entry.ms:g} ms is no time of a kernel; are these other units?")
    if entry.energy is not None:
        _check_scope(entry.energy.scope, f"{at}.energy")
        energy = entry.energy.energy_mj
        _number(energy, f"{at}.energy")
        _require(0 < energy <= _MAX_MJ, f"{at}.energy: {energy:g} mJ is no energy of a kernel; unknown is left out")


def _check_regression(r: Regression, at: str, sources: frozenset[str]) -> None:
    _check_conditions(r, at, sources)
    _one_of(r.kernel, KERNELS, f"{at}.kernel")
    for figure in (r.constant_ms, r.ms_per_mmac, r.ms_per_mb, r.cv_error):
        _number(figure, at)
    _require(r.constant_ms + r.ms_per_mmac + r.ms_per_mb > 0, f"{at}: every kernel takes time")
    _require(r.n >= 1, f"{at}: no measurement stands behind it")
    if r.energy is not None:
        _check_scope(r.energy.scope, f"{at}.energy")
        for figure in (r.energy.constant_mj, r.energy.mj_per_mmac, r.energy.mj_per_mb):
            _number(figure, f"{at}.energy")


def _check_composition(c: Composition, at: str, sources: frozenset[str]) -> None:
    _check_conditions(c, at, sources)
    figures = (c.dispatch_ms, c.step_ms, c.call_ms, c.runtime_ms, c.turn_ms or 0.0, c.turn_ms_per_mb or 0.0)
    for figure in (*figures, c.cv_error, float(c.n), c.dispatch_mj or 0.0):
        _number(figure, at)
    _require(c.channel_block >= 1, f"{at}.channel_block: must be at least 1")


def _check_conditions(item: TableEntry | Regression | Composition, at: str, sources: frozenset[str]) -> None:
    _one_of(item.precision, PRECISIONS, f"{at}.precision")
    _require(item.threads >= 1, f"{at}.threads: must be at least 1")
    _require(item.backend != "", f"{at}.backend: is empty")
    _require(item.source in sources, f"{at}.source: {item.source!r} is not among the sources")


def _check_unique(entries: Iterable[TableEntry], at: str) -> None:
    seen = set()
    for i, entry in enumerate(entries):
        key = (*entry.as_kernel.key, entry.backend, entry.threads)
        _require(key not in seen, f"{at}[{i}]: there is an entry for this kernel already")
        seen.add(key)


def _check_scopes(table: LatencyTable, where: str) -> None:
    """Energies of different scopes are never added, so a table has one."""
    energies = [*(entry.energy for entry in table.entries), *(fit.energy for fit in table.regressions)]
    scopes = {energy.scope for energy in energies if energy is not None}
    _require(len(scopes) <= 1, f"{where}: energies of different scopes cannot be added: {', '.join(sorted(scopes))}")


def _check_scope(scope: str, at: str) -> None:
    _one_of(scope, SCOPES, f"{at}.scope")


def _number(figure: float | None, at: str) -> None:
    sound = figure is not None and math.isfinite(figure) and figure >= 0
    _require(sound, f"{at}: its figures cannot be negative or missing")


def _one_of(found: str, allowed: tuple[str, ...], at: str) -> None:
    _require(found in allowed, f"{at}: expected {', '.join(allowed)}, found {found!r}")


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise ArtefactError(reason)
