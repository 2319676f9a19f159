"""Selection of the reference probes of a table: those whose latency rests most on one speed class of kernels."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from eetool.errors import ArtefactError
from eetool.latency.build.stability import is_steady
from eetool.latency.kernels.speed_class import CALLS, SPEED_CLASSES, speed_class
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import parse_name
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import BACKENDS, LatencyTable, ReferenceProbe, ReferenceSet
from eetool_measure.probe_timing import ProbeTime, ProbeTimes

_PER_CLASS, _LEAST_PER_CLASS = 7, 3
_POOL = 3  # times as many probes with the largest shares, of which the longest that fit are taken
_LONGEST_MS = 12.0
_TOTAL_MS = 80.0  # of all together: with warm-up each is called 50 times, so that a check takes about 4 s
_TOLERANCE = 0.1  # of a probe that the table reproduces; others were disturbed, or hold something that it does not


def choose_references(times: Sequence[ProbeTimes], table: LatencyTable, source: str) -> tuple[ReferenceSet, ...]:
    """Choose the reference probes of a table among the probes that it was built from.

    Args:
        times: probe times of one kind and thread count.
        table: the table that was made of them.
        source: id of their source.

    Returns:
        One set; none where no probe can serve.
    """
    first = times[0]
    kind, backend = ProbeKind(first.format, first.precision), BACKENDS[first.format]
    costs = KernelCosts(table, "probes", backend, first.precision, first.threads)
    probes = [probe for document in times for probe in document.probes if is_steady(probe)]
    limit_ms = _longest_ms([probe.latency_ms.median for probe in probes])
    known = [_reference(probe, kind, costs) for probe in probes if probe.latency_ms.median <= limit_ms]
    chosen = _by_class([reference for reference in known if reference is not None])
    if not chosen:
        return ()
    return (ReferenceSet(first.precision, backend, first.threads, source, tuple(chosen)),)


def _longest_ms(whole_ms: Sequence[float]) -> float:
    """Return the longest latency of a reference probe; on slow devices that of the fastest quarter."""
    return max(_LONGEST_MS, float(np.quantile(whole_ms, 0.25))) if len(whole_ms) else _LONGEST_MS


def _reference(probe: ProbeTime, kind: ProbeKind, costs: KernelCosts) -> ReferenceProbe | None:
    """Return the probe with the shares of its speed classes; None where the table does not reproduce it."""
    net = parse_name(probe.name)
    if net is None:
        return None
    try:
        kernels = kernels_of_probe(net, kind, costs.composition.channel_block)
    except ArtefactError:  # the libraries here cannot write this probe, those of another machine could
        return None
    by_class = dict.fromkeys(SPEED_CLASSES, 0.0)
    by_class[CALLS] += costs.composition.dispatch_ms + len(kernels) * costs.composition.step_ms
    for kernel in kernels:
        by_class[speed_class(kernel)] += costs.latency(kernel).value
    total = sum(by_class.values())
    if abs(total / probe.latency_ms.median - 1) > _TOLERANCE:
        return None
    shares = {name: round(ms / total, 4) for name, ms in by_class.items()}
    return ReferenceProbe(probe.name, net.fingerprint, probe.latency_ms.median, shares)


def _by_class(known: Sequence[ReferenceProbe]) -> list[ReferenceProbe]:
    """Return for each class the probes with its largest shares, as many as fit into the time of a check."""
    for count in range(_PER_CLASS, _LEAST_PER_CLASS - 1, -1):
        chosen: list[ReferenceProbe] = []
        for name in SPEED_CLASSES:
            rest = [probe for probe in known if probe not in chosen]
            pool = sorted(rest, key=partial(_minus_share, name))[: _POOL * count]
            chosen += _long_ones(pool, count)
        if sum(probe.latency_ms for probe in chosen) <= _TOTAL_MS:
            break
    return chosen


def _long_ones(pool: Sequence[ReferenceProbe], count: int) -> list[ReferenceProbe]:
    """Return `count` probes of a class, the longest that its share of the time allows.

    Other programs interrupt long calls, and larger networks have them. Each probe may take twice its share of what is
    left, so that shorter ones follow.
    """
    left_ms, left, chosen = _TOTAL_MS / len(SPEED_CLASSES), list(pool), list[ReferenceProbe]()
    while left and len(chosen) < count:
        most_ms = 2 * left_ms / (count - len(chosen))
        fitting = [probe for probe in left if probe.latency_ms <= most_ms]
        best = max(fitting, key=lambda probe: probe.latency_ms) if fitting else min(left, key=lambda p: p.latency_ms)
        chosen.append(best)
        left.remove(best)
        left_ms -= best.latency_ms
    return chosen


def _minus_share(name: str, probe: ReferenceProbe) -> float:
    return -probe.shares[name]
