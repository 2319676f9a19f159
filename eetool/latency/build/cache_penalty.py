"""Cost of a call after another graph ran and evicted this one from the caches.

Probes are timed alone, in blocks of calls, and also alternating with another probe. The difference is a constant
(code and runtime state of the graph) plus the time to fetch evicted weights again.
"""

from collections.abc import Sequence

import numpy as np

from eetool.errors import ArtefactError
from eetool.latency.build.robust_nnls import robust_nnls
from eetool.latency.build.stability import is_steady
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import parse_name
from eetool.latency.table.weight_streaming import weight_mb
from eetool_measure.probe_timing import ProbeTimes

_DELTA = 0.02  # share of a whole call from which the loss is linear


def evicted_mb(own_mb: float, others_mb: float) -> float:
    """Return the megabytes of a graph's weights that other graphs evict."""
    return min(own_mb, others_mb)


def fit_cache_penalty(times: Sequence[ProbeTimes], kind: ProbeKind) -> tuple[float, float]:
    """Fit the penalty of a call after another graph.

    Args:
        times: probe times of one kind and thread count.
        kind: format and precision of the probes.

    Returns:
        Milliseconds per call and milliseconds per evicted megabyte; both 0 where no probe was timed alternating.
    """
    rows, extra_ms, whole_ms = [], [], []
    for document in times:
        weights = {probe.name: _probe_weight_mb(probe.name, kind) for probe in document.probes}
        for probe in document.probes:
            own, others = weights[probe.name], weights.get(probe.in_turn_with or "")
            if probe.in_turn_ms is not None and is_steady(probe) and own is not None and others is not None:
                rows.append((1.0, evicted_mb(own, others)))
                extra_ms.append(probe.in_turn_ms - probe.latency_ms.median)
                whole_ms.append(probe.latency_ms.median)
    if not rows:
        return 0.0, 0.0
    whole = np.array(whole_ms)  # (n,): errors count as shares of the whole call
    constant, per_mb = robust_nnls(np.array(rows) / whole[:, None], np.array(extra_ms) / whole, _DELTA)
    return round(float(constant), 7), round(float(per_mb), 7)


def _probe_weight_mb(name: str, kind: ProbeKind) -> float | None:
    net = parse_name(name)
    try:
        return None if net is None else weight_mb(kernels_of_probe(net, kind))
    except ArtefactError:  # the libraries here cannot write this probe, those of another machine could
        return None
