"""Latency table from whole calls of probes, for runtimes without usable kernel traces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.errors import ArtefactError
from eetool.latency.build.cache_penalty import fit_cache_penalty
from eetool.latency.build.kernel_decomposition import DecomposedKernel, Decomposition, ProcessParameters, decompose
from eetool.latency.build.plain_calls import fit_plain_calls
from eetool.latency.build.stability import is_steady
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.probes.probe_files import ProbeKind, index_kernels, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name
from eetool.latency.table.intervals import calibrated_error, deviation_of_sum
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import BACKENDS, FITTED, Composition, LatencyTable, TableEntry
from eetool.wording import counted
from eetool_measure.probe_timing import ProbeTimes

_MIN_PROBES, _FAMILIES_NEEDED = 4, 4


@dataclass(frozen=True)
class TableConditions:
    """Conditions of a table, source of its figures, and the costs that are known beforehand."""

    kind: ProbeKind
    threads: int
    source: str
    call_ms: float
    runtime_ms: float
    cache_penalty_ms: float = 0.0
    cache_penalty_ms_per_mb: float = 0.0
    plain_ms: float | None = None
    plain_ms_per_mb: float | None = None


def make_table_from_totals(times: Sequence[ProbeTimes], source: str, validate: bool = True) -> LatencyTable:
    """Make the table of one backend, precision and thread count from whole calls alone.

    Args:
        times: probe times of one kind and thread count.
        source: id of the source of the entries.
        validate: estimate the error by holding out families; without it the error is recorded as 0.

    Returns:
        The table.

    Raises:
        ValueError: there are too few usable probes.
    """
    first = times[0]
    kind = ProbeKind(first.format, first.precision)
    call_ms = float(np.median([d.cascade.call_ms for d in times]))
    runtime_ms = float(np.median([d.cascade.component_ms for d in times]))
    penalty, plain = fit_cache_penalty(times, kind), fit_plain_calls(times)
    known = TableConditions(kind, first.threads, source, call_ms, runtime_ms, *penalty, *plain)
    families, networks, whole_ms = _steady_networks(times, kind)
    if len(networks) < _MIN_PROBES:
        raise ValueError(f"only {counted(len(networks), 'probe')} could be used")
    decomposition = decompose(networks, whole_ms)
    families, networks = [families[i] for i in decomposition.kept], [networks[i] for i in decomposition.kept]
    if not validate:
        return _table(decomposition, known, len(networks), 0.0)
    ratios, deviations = _held_out(
        families, networks, whole_ms[list(decomposition.kept)], known, decomposition.parameters
    )
    ratios = ratios / np.median(ratios)
    error = float(np.median(np.abs(ratios - 1)))
    family_error = None
    if len(set(families)) >= _FAMILIES_NEEDED:
        family_error = round(calibrated_error(ratios, deviations), 4)
    return _table(decomposition, known, len(networks), error, family_error)


def _steady_networks(times: Sequence[ProbeTimes], kind: ProbeKind) -> tuple[list[str], list[list[Kernel]], np.ndarray]:
    """Return families, kernels and latencies (n,) in ms of the steady probes."""
    latencies: dict[ProbeNetwork, float] = {}
    for document in times:
        for probe in document.probes:
            net = parse_name(probe.name)
            if net is not None and is_steady(probe):
                latencies[net] = probe.latency_ms.median
    index_kernels(list(latencies), kind)
    families, networks, whole_ms = [], [], []
    for net, ms in latencies.items():
        try:
            networks.append(kernels_of_probe(net, kind))
        except ArtefactError:  # the libraries here cannot write this probe, those of another machine could
            continue
        families.append(net.family)
        whole_ms.append(ms)
    return families, networks, np.array(whole_ms)


def _held_out(
    families: Sequence[str],
    networks: Sequence[list[Kernel]],
    whole_ms: np.ndarray,
    known: TableConditions,
    parameters: ProcessParameters,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ratios (n,) predicted / measured and relative deviations (n,), each under a table without its family.

    A user's network belongs to no family of probes. With its own family in the table, each error would be too small.
    """
    ratios, deviations = np.empty(len(networks)), np.empty(len(networks))
    for family in sorted(set(families)):
        test = np.flatnonzero([name == family for name in families])
        rest = np.setdiff1d(np.arange(len(networks)), test)
        parts = decompose([networks[i] for i in rest.tolist()], whole_ms[rest], parameters=parameters)
        table = _table(parts, known, len(rest), 0.0)
        costs = KernelCosts(table, "probes", BACKENDS[known.kind.format], known.kind.precision, known.threads)
        for i in test.tolist():
            priced = [costs.latency(kernel) for kernel in networks[i]]
            total = parts.dispatch_ms + sum(p.value for p in priced)
            ratios[i] = total / whole_ms[i]
            deviations[i] = deviation_of_sum([p.value * p.deviation for p in priced], 0.0) / total
    return ratios, deviations


def _table(
    parts: Decomposition, known: TableConditions, count: int, error: float, family_error: float | None = None
) -> LatencyTable:
    composition = Composition(
        precision=known.kind.precision,
        backend=BACKENDS[known.kind.format],
        threads=known.threads,
        source=known.source,
        dispatch_ms=round(parts.dispatch_ms, 7),
        n=count,
        cv_error=round(error, 4),
        family_error=family_error,
        call_ms=round(known.call_ms, 7),
        runtime_ms=round(known.runtime_ms, 7),
        turn_ms=known.cache_penalty_ms,
        turn_ms_per_mb=known.cache_penalty_ms_per_mb,
        plain_ms=known.plain_ms,
        plain_ms_per_mb=known.plain_ms_per_mb,
    )
    entries = tuple(_entry(part, known) for part in parts.parts)
    return LatencyTable(entries, (), (composition,), frozenset({known.source}))


def _entry(part: DecomposedKernel, known: TableConditions) -> TableEntry:
    return TableEntry(
        kind=FITTED,
        kernel=part.kernel.kind,
        shape=dict(part.kernel.shape),
        precision=part.kernel.precision,
        backend=BACKENDS[known.kind.format],
        threads=known.threads,
        source=known.source,
        latency_ms=round(part.ms, 7),
        n=part.networks,
        cv_error=round(part.deviation, 4),
    )
