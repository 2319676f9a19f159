"""Latency table from traced probes: entries per kernel, and the composition of whole graphs.

The profiler of the runtime makes every kernel slower. Its overhead follows from a comparison with untraced whole calls
over all probes: whole = dispatch + sum (traced - overhead). The corrected time of a kernel includes the runtime's step
to the next kernel.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from eetool.latency.build.cache_penalty import fit_cache_penalty
from eetool.latency.build.plain_calls import fit_plain_calls
from eetool.latency.build.stability import is_steady
from eetool.latency.build.table_from_totals import make_table_from_totals
from eetool.latency.build.trace_matching import channel_block, match_trace
from eetool.latency.build.weight_streaming_fit import TimedKernels, fit_weight_streaming
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.probes.heavy_networks import HEAVY, SHALLOW
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import parse_name
from eetool.latency.table.intervals import calibrated_error, deviation_of_sum
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import BACKENDS, MEASURED, Composition, LatencyTable, TableEntry
from eetool.latency.table.weight_streaming import WeightStreaming, reused_mb, weight_mb
from eetool.wording import counted
from eetool_measure.probe_timing import KernelTime, ProbeTime, ProbeTimes

# Largest relative difference between a usable probe's whole calls and the sum of its kernels.
_TOLERANCE = 0.15
_DELTA = 0.02  # relative error from which the loss grows logarithmically
_LEAST_MS = 1e-4
_LEAST_SHARE = 0.2  # of a traced kernel that remains without the cost of its weights
_FOLDS = 4
_FAMILY_GROUPS, _FAMILIES_NEEDED = 8, 4
_VALIDATED = 60  # probes per fold: more would take long and change little


@dataclass(frozen=True)
class MatchedProbe:
    """A probe with the traced time of each of its kernels."""

    probe: ProbeTime
    pairs: tuple[tuple[Kernel, KernelTime], ...]

    @property
    def family(self) -> str:
        """Family of the network; a twin is of the family of its network."""
        family = self.probe.name.rpartition("-")[0]
        return HEAVY if family == SHALLOW else family

    @property
    def whole_ms(self) -> float:
        """Median latency of whole calls."""
        return self.probe.latency_ms.median

    @property
    def traced_ms(self) -> float:
        """Sum of the traced kernel times."""
        return sum(timed.mean_us for _, timed in self.pairs) / 1e3


@dataclass(frozen=True)
class TraceOverheads:
    """Milliseconds per call of a graph, and milliseconds that the profiler adds to each traced kernel."""

    dispatch_ms: float
    profiler_overhead_ms: float


def match_probes(times: Sequence[ProbeTimes], block: int) -> list[MatchedProbe]:
    """Return the steady probes whose traced kernels match the expected ones.

    Args:
        times: probe times of one kind and thread count.
        block: channels per block on the device.
    """
    matched = []
    for document in times:
        for probe in document.probes:
            net = parse_name(probe.name)
            pairs = (
                match_trace(kernels_of_probe(net, ProbeKind(), block), probe.kernels)
                if net is not None and is_steady(probe)
                else None
            )
            if pairs is not None:
                matched.append(MatchedProbe(probe, tuple(pairs)))
    return matched


def fit_overheads(probes: Sequence[MatchedProbe]) -> TraceOverheads:
    """Fit dispatch and profiler overhead by robust least squares of relative errors."""
    whole = np.array([m.whole_ms for m in probes])  # (n,)
    traced = np.array([m.traced_ms for m in probes])
    steps = np.array([len(m.pairs) for m in probes], float)
    terms = np.stack((np.ones(len(whole)), -steps), axis=1) / whole[:, None]  # (n, 2)
    target = 1 - traced / whole
    start, *_ = np.linalg.lstsq(terms, target, rcond=None)
    fit = least_squares(
        lambda overheads: terms @ overheads - target,
        start,
        jac=lambda overheads: terms,
        x_scale="jac",
        loss=_logarithmic_loss,
        f_scale=_DELTA,
    )
    return TraceOverheads(max(float(fit.x[0]), 0.0), max(float(fit.x[1]), 0.0))


def _logarithmic_loss(squared: np.ndarray) -> np.ndarray:
    """Return a loss of squared errors (n,) and its two derivatives, (3, n): z up to 1, then 1 + ln z."""
    large = np.maximum(squared, 1.0)
    return np.stack((np.minimum(squared, 1.0) + np.log(large), 1 / large, np.where(squared > 1, -1 / large**2, 0.0)))


def consistent_probes(probes: Iterable[MatchedProbe], known: TraceOverheads) -> list[MatchedProbe]:
    """Return the probes whose corrected kernel times add up to their whole calls."""

    def ratio(m: MatchedProbe) -> float:
        return (known.dispatch_ms + m.traced_ms - known.profiler_overhead_ms * len(m.pairs)) / m.whole_ms

    return [m for m in probes if abs(ratio(m) - 1) <= _TOLERANCE]


def timed_kernels(m: MatchedProbe, known: TraceOverheads) -> TimedKernels:
    """Return the kernels of a probe with their milliseconds, scaled so that they add up to its whole calls."""
    net_ms = m.traced_ms - known.profiler_overhead_ms * len(m.pairs)
    scale = (m.whole_ms - known.dispatch_ms) / net_ms if net_ms > 0 else 1.0
    scale = min(max(scale, 1 - _TOLERANCE), 1 + _TOLERANCE)
    return [(k, max((t.mean_us / 1e3 - known.profiler_overhead_ms) * scale, _LEAST_MS)) for k, t in m.pairs]


def table_entries(probes: Iterable[MatchedProbe], known: TraceOverheads, composition: Composition) -> list[TableEntry]:
    """Make one entry per kernel: the median over its probes, as if all weights stayed in the caches.

    Args:
        probes: the usable probes.
        known: overheads of the trace.
        composition: conditions and source of the entries, and the cost of weights that do not stay.

    Returns:
        The entries.
    """
    samples: dict[object, list[tuple[float, int]]] = defaultdict(list)
    kernels: dict[object, Kernel] = {}
    for m in probes:
        total_mb = weight_mb([kernel for kernel, _ in m.pairs])
        for (kernel, ms), (_, timed) in zip(timed_kernels(m, known), m.pairs, strict=True):
            samples[kernel.key].append((_resident_ms(kernel, ms, composition.streaming, total_mb), timed.runs))
            kernels.setdefault(kernel.key, kernel)
    return [_entry(kernels[key], times, composition) for key, times in samples.items()]


def _resident_ms(kernel: Kernel, ms: float, streaming: WeightStreaming | None, total_mb: float) -> float:
    """Return the time of a kernel with its weights in the caches."""
    if streaming is None:
        return ms
    return max(ms - streaming.ms(reused_mb([kernel]), 1, total_mb), _LEAST_SHARE * ms)


def _entry(kernel: Kernel, times: Sequence[tuple[float, int]], composition: Composition) -> TableEntry:
    ms = np.array([value for value, _ in times])
    median = float(np.median(ms))
    spread = float(np.median(np.abs(ms - median)))
    return TableEntry(
        kind=MEASURED,
        kernel=kernel.kind,
        shape=dict(kernel.shape),
        precision=kernel.precision,
        backend=composition.backend,
        threads=composition.threads,
        source=composition.source,
        count=sum(runs for _, runs in times),
        median_ms=round(median, 7),
        spread_ms=round(spread, 7),
    )


def make_table_from_traces(times: Sequence[ProbeTimes], source: str, validate: bool = True) -> LatencyTable:
    """Make the table of one backend, precision and thread count.

    Args:
        times: probe times of one kind and thread count.
        source: id of the source of the entries.
        validate: estimate the error by cross-validation; without it the error is recorded as 0.

    Returns:
        The table.

    Raises:
        ValueError: there are too few usable probes.
    """
    first = times[0]
    if not ProbeKind(first.format, first.precision).traced:
        return make_table_from_totals(times, source, validate)
    backend, threads = BACKENDS[first.format], first.threads
    block = channel_block(probe for document in times for probe in document.probes)
    steady = match_probes(times, block)
    if len(steady) < _FOLDS:
        raise ValueError(f"only {counted(len(steady), 'probe')} could be used")
    known = fit_overheads(steady)
    used = consistent_probes(steady, known)
    turn_ms, turn_ms_per_mb = fit_cache_penalty(times, ProbeKind())
    plain_ms, plain_ms_per_mb = fit_plain_calls(times)
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
        plain_ms=plain_ms,
        plain_ms_per_mb=plain_ms_per_mb,
        streaming=fit_weight_streaming((m.probe.name, timed_kernels(m, known)) for m in used),
    )
    sources = frozenset({source})
    ratios = _cross_validated(used, known, composition, sources) if validate else np.ones(1)  # (n,)
    error = float(np.median(np.abs(ratios / np.median(ratios) - 1)))
    family_error = None
    if validate and len({m.family for m in used}) >= _FAMILIES_NEEDED:
        _, left_out, deviations = _left_out_families(used, known, composition, sources)
        family_error = round(calibrated_error(left_out, deviations), 4)
    composed = replace(composition, cv_error=round(error, 4), family_error=family_error)
    # Traces give means and whole calls medians, so sums of kernels are biased; the median ratio corrects them.
    factor = 1 / float(np.median(ratios))
    entries = tuple(_scaled(entry, factor) for entry in table_entries(used, known, composed))
    return LatencyTable(entries, (), (composed,), sources)


def _scaled(entry: TableEntry, factor: float) -> TableEntry:
    assert entry.median_ms is not None
    return replace(entry, median_ms=round(entry.median_ms * factor, 7))


def _cross_validated(
    probes: Sequence[MatchedProbe], known: TraceOverheads, composition: Composition, sources: frozenset[str]
) -> np.ndarray:
    """Return the ratios (n,) predicted / measured of whole probes, each from a table without that probe."""
    ratios: list[float] = []
    for fold in range(_FOLDS):
        rest = [m for i, m in enumerate(probes) if i % _FOLDS != fold]
        costs = _costs_of(rest, known, composition, sources)
        ratios += [_predict(m, costs)[0] for m in probes[fold::_FOLDS][:_VALIDATED]]
    return np.array(ratios)


def _left_out_families(
    probes: Sequence[MatchedProbe], known: TraceOverheads, composition: Composition, sources: frozenset[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return families, ratios (n,) predicted / measured and relative deviations (n,) under tables without the family.

    A user's network belongs to no family of probes. A few families are left out together, which takes less time. The
    median ratio is that of means to medians, which the table corrects; it is no error.
    """
    families = sorted({m.family for m in probes})
    names: list[str] = []
    predictions: list[tuple[float, float]] = []
    for group in range(min(_FAMILY_GROUPS, len(families))):
        left_out = families[group::_FAMILY_GROUPS]
        costs = _costs_of([m for m in probes if m.family not in left_out], known, composition, sources)
        tested = [m for m in probes if m.family in left_out]
        for i in _evenly_spaced(len(tested), _VALIDATED):
            names.append(tested[i].family)
            predictions.append(_predict(tested[i], costs))
    ratios, deviations = np.array(predictions).T
    return names, ratios / np.median(ratios), deviations


def family_errors(times: Sequence[ProbeTimes], source: str) -> dict[str, float]:
    """Return the median relative error of each family of probes under a table without it, for the next probes.

    Args:
        times: probe times of one kind and thread count.
        source: id of their source.

    Returns:
        The errors by family; empty where there are few families, and of kinds that the runtime does not trace.
    """
    if not ProbeKind(times[0].format, times[0].precision).traced:
        return {}
    (composition,) = make_table_from_traces(times, source, validate=False).compositions
    steady = match_probes(times, composition.channel_block)
    known = fit_overheads(steady)
    used = consistent_probes(steady, known)
    if len({m.family for m in used}) < _FAMILIES_NEEDED:
        return {}
    names, ratios, _ = _left_out_families(used, known, composition, frozenset({source}))
    errors = defaultdict(list)
    for name, ratio in zip(names, ratios.tolist(), strict=True):
        errors[name].append(abs(ratio - 1))
    return {name: float(np.median(values)) for name, values in errors.items()}


def _evenly_spaced(count: int, most: int) -> list[int]:
    indices: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    return indices


def _costs_of(
    probes: Sequence[MatchedProbe], known: TraceOverheads, composition: Composition, sources: frozenset[str]
) -> KernelCosts:
    """Return the costs of kernels from a table of some probes."""
    entries = table_entries(probes, known, composition)
    table = LatencyTable(tuple(entries), (), (composition,), sources)
    return KernelCosts(table, "probes", composition.backend, composition.precision, composition.threads)


def _predict(m: MatchedProbe, costs: KernelCosts) -> tuple[float, float]:
    """Return the ratio predicted / measured of a whole probe, and its relative deviation from its kernels."""
    priced = [costs.latency(kernel) for kernel, _ in m.pairs]
    total = costs.composition.dispatch_ms + sum(p.value for p in priced)
    total += costs.composition.streaming_ms([kernel for kernel, _ in m.pairs])
    return total / m.whole_ms, deviation_of_sum([p.value * p.deviation for p in priced], 0.0) / total
