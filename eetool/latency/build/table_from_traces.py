"""From times of probes to a latency table: entries per kernel, and how kernels add up to whole graphs.

A trace makes every kernel slower by the time it takes to note it. How much is told by comparing traced kernels with
whole calls that were not traced, over all probes at once: whole = dispatch + sum (traced - noting). What is left of
a kernel includes the runtime's way from one kernel to the next.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eetool.latency.build.cache_penalty import fit_cache_penalty
from eetool.latency.build.stability import is_steady
from eetool.latency.build.table_from_totals import make_table_from_totals
from eetool.latency.build.trace_matching import channel_block, match_trace
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import parse_name
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import BACKENDS, MEASURED, Composition, LatencyTable, TableEntry
from eetool_measure.probe_timing import KernelTime, ProbeTime, ProbeTimes

# A probe is not used where its kernels do not add up to its whole calls.
_ADDS_UP = 0.15
_LEAST_MS = 1e-4
_ROUNDS = 8
_FOLDS = 4
_VALIDATED = 60  # probes of each fold: more would take long and say no more


@dataclass(frozen=True)
class MatchedProbe:
    """A probe whose kernels all found their times."""

    probe: ProbeTime
    pairs: tuple[tuple[Kernel, KernelTime], ...]

    @property
    def whole_ms(self) -> float:
        """Median of whole calls."""
        return self.probe.latency_ms.median

    @property
    def traced_ms(self) -> float:
        """Sum of the traced kernels."""
        return sum(timed.mean_us for _, timed in self.pairs) / 1e3


@dataclass(frozen=True)
class TraceOverheads:
    """Milliseconds per call of a graph, and what noting adds to each kernel of a trace."""

    dispatch_ms: float
    noting_ms: float


def match_probes(times: Sequence[ProbeTimes], block: int) -> list[MatchedProbe]:
    """The steady probes whose kernels are those that the runtime ran."""
    found = []
    for document in times:
        for probe in document.probes:
            net = parse_name(probe.name)
            pairs = (
                match_trace(kernels_of_probe(net, ProbeKind(), block), probe.kernels)
                if net is not None and is_steady(probe)
                else None
            )
            if pairs is not None:
                found.append(MatchedProbe(probe, tuple(pairs)))
    return found


def fit_overheads(probes: Sequence[MatchedProbe]) -> TraceOverheads:
    """Dispatch and noting by least squares of relative errors, probes that do not fit counting less (IRLS)."""
    whole = np.array([m.whole_ms for m in probes])  # (n,)
    traced = np.array([m.traced_ms for m in probes])
    steps = np.array([len(m.pairs) for m in probes], float)
    terms = np.stack((np.ones(len(whole)), -steps), axis=1) / whole[:, None]  # (n, 2)
    target, weight = 1 - traced / whole, np.ones(len(whole))
    for _ in range(_ROUNDS):
        found, *_ = np.linalg.lstsq(terms * weight[:, None], target * weight, rcond=None)
        missed = np.abs(terms @ found - target)
        weight = np.minimum(1.0, 0.02 / np.maximum(missed, 1e-9))
    return TraceOverheads(max(float(found[0]), 0.0), max(float(found[1]), 0.0))


def consistent_probes(probes: Iterable[MatchedProbe], known: TraceOverheads) -> list[MatchedProbe]:
    """Probes whose kernels add up to what the whole took."""

    def ratio(m: MatchedProbe) -> float:
        return (known.dispatch_ms + m.traced_ms - known.noting_ms * len(m.pairs)) / m.whole_ms

    return [m for m in probes if abs(ratio(m) - 1) <= _ADDS_UP]


def table_entries(
    probes: Iterable[MatchedProbe], known: TraceOverheads, backend: str, threads: int, source: str
) -> list[TableEntry]:
    """One entry per kernel: the median over the probes that hold it, each scaled to what its whole took."""
    found: dict[object, list[tuple[float, int]]] = defaultdict(list)
    kernels: dict[object, Kernel] = {}
    for m in probes:
        net_ms = m.traced_ms - known.noting_ms * len(m.pairs)
        scale = (m.whole_ms - known.dispatch_ms) / net_ms if net_ms > 0 else 1.0
        scale = min(max(scale, 1 - _ADDS_UP), 1 + _ADDS_UP)
        for kernel, timed in m.pairs:
            ms = max((timed.mean_us / 1e3 - known.noting_ms) * scale, _LEAST_MS)
            found[kernel.key].append((ms, timed.runs))
            kernels.setdefault(kernel.key, kernel)
    return [_entry(kernels[key], times, backend, threads, source) for key, times in found.items()]


def _entry(kernel: Kernel, times: Sequence[tuple[float, int]], backend: str, threads: int, source: str) -> TableEntry:
    ms = np.array([value for value, _ in times])
    median = float(np.median(ms))
    spread = float(np.median(np.abs(ms - median)))
    return TableEntry(
        kind=MEASURED,
        kernel=kernel.kind,
        shape=dict(kernel.shape),
        precision=kernel.precision,
        backend=backend,
        threads=threads,
        source=source,
        count=sum(runs for _, runs in times),
        median_ms=round(median, 7),
        spread_ms=round(spread, 7),
    )


def make_table_from_traces(times: Sequence[ProbeTimes], source: str, validate: bool = True) -> LatencyTable:
    """The table of one backend, precision and thread count; without `validate` nobody says how well it does.

    Raises:
        ValueError: there is nothing to make it of.
    """
    first = times[0]
    if not ProbeKind(first.format, first.precision).traced:
        return make_table_from_totals(times, source, validate)
    backend, threads = BACKENDS[first.format], first.threads
    block = channel_block(probe for document in times for probe in document.probes)
    steady = match_probes(times, block)
    if len(steady) < _FOLDS:
        raise ValueError(f"only {len(steady)} probes could be used")
    known = fit_overheads(steady)
    used = consistent_probes(steady, known)
    turn_ms, turn_ms_per_mb = fit_cache_penalty(times, ProbeKind())
    composition = Composition(
        precision=first.precision,
        backend=backend,
        threads=threads,
        source=source,
        dispatch_ms=round(known.dispatch_ms, 7),
        n=len(used),
        cv_error=0.0,
        call_ms=round(float(np.median([d.cascade.call_ms for d in times])), 7),
        runtime_ms=round(float(np.median([d.cascade.component_ms for d in times])), 7),
        channel_block=block,
        turn_ms=turn_ms,
        turn_ms_per_mb=turn_ms_per_mb,
    )
    sources = frozenset({source})
    ratios = _cross_validated(used, known, composition, sources) if validate else np.ones(1)  # (n,)
    error = float(np.median(np.abs(ratios / np.median(ratios) - 1)))
    composed = replace(composition, cv_error=round(error, 4))
    # What sums of kernels miss on average of whole networks (a mean over traces is no median) is put right here.
    made = [
        _scaled(entry, 1 / float(np.median(ratios))) for entry in table_entries(used, known, backend, threads, source)
    ]
    return LatencyTable(tuple(made), (), (composed,), sources)


def _scaled(entry: TableEntry, factor: float) -> TableEntry:
    assert entry.median_ms is not None
    return replace(entry, median_ms=round(entry.median_ms * factor, 7))


def _cross_validated(
    probes: Sequence[MatchedProbe], known: TraceOverheads, composition: Composition, sources: frozenset[str]
) -> np.ndarray:
    """(n,) predicted / measured of whole probes, each predicted from a table that the probe had no part in."""
    ratios = []
    for fold in range(_FOLDS):
        rest = [m for i, m in enumerate(probes) if i % _FOLDS != fold]
        made = table_entries(rest, known, composition.backend, composition.threads, composition.source)
        table = LatencyTable(tuple(made), (), (composition,), sources)
        book = KernelCosts(table, "probes", composition.backend, composition.precision, composition.threads)
        for m in probes[fold::_FOLDS][:_VALIDATED]:
            total = composition.dispatch_ms + sum(book.latency(kernel).value for kernel, _ in m.pairs)
            ratios.append(total / m.whole_ms)
    return np.array(ratios)
