"""What a graph costs more when another one ran since its last call, and took its place in the caches.

Probes are timed alone, in blocks of calls, and also in turn with another one. The difference is a constant (code, and
what the runtime keeps of a graph) and the weights that have to be fetched anew: as many as the other one drove out.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from eetool.errors import ArtefactError
from eetool.latency.build.stability import is_steady
from eetool.latency.kernels.kernel import Kernel, work
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import parse_name
from eetool_measure.probe_timing import ProbeTimes

_DELTA = 0.02  # of a whole call; beyond it differences count linearly
_ROUNDS = 30


def weight_mb(kernels: Sequence[Kernel]) -> float:
    """Megabytes of weights."""
    return sum(work(kernel).weight_bytes for kernel in kernels) / 1e6


def evicted_mb(own_mb: float, others_mb: float) -> float:
    """Megabytes of its weights that a graph does not find where it left them."""
    return min(own_mb, others_mb)


def fit_cache_penalty(times: Sequence[ProbeTimes], kind: ProbeKind) -> tuple[float, float]:
    """Milliseconds that every call in turn costs more, and those per megabyte driven out; 0 where nobody measured."""
    rows, extra_ms, whole_ms = [], [], []
    for document in times:
        weights = {probe.name: _weights(probe.name, kind) for probe in document.probes}
        for probe in document.probes:
            own, others = weights[probe.name], weights.get(probe.in_turn_with or "")
            if probe.in_turn_ms is not None and is_steady(probe) and own is not None and others is not None:
                rows.append((1.0, evicted_mb(own, others)))
                extra_ms.append(probe.in_turn_ms - probe.latency_ms.median)
                whole_ms.append(probe.latency_ms.median)
    if not rows:
        return 0.0, 0.0
    constant, per_mb = _fitted(np.array(rows), np.array(extra_ms), np.array(whole_ms))
    return round(constant, 7), round(per_mb, 7)


def _weights(name: str, kind: ProbeKind) -> float | None:
    net = parse_name(name)
    try:
        return None if net is None else weight_mb(kernels_of_probe(net, kind))
    except ArtefactError:  # it was written elsewhere, by libraries that could
        return None


def _fitted(rows: np.ndarray, extra_ms: np.ndarray, whole_ms: np.ndarray) -> tuple[float, float]:
    """(n, 2) @ costs = extra (n,), no cost negative, errors as shares of the whole and Huber's loss on them."""
    terms, target, weight = rows / whole_ms[:, None], extra_ms / whole_ms, np.ones(len(rows))
    for _ in range(_ROUNDS):
        root = np.sqrt(weight)
        costs, _ = nnls(terms * root[:, None], target * root)
        weight = np.minimum(1.0, _DELTA / np.maximum(np.abs(terms @ costs - target), 1e-9))
    return float(costs[0]), float(costs[1])
