"""Cost of calls without bound buffers: what `InferenceSession.run` takes beyond a call as the runtime makes it.

A plain call converts its inputs, allocates its outputs, and writes them to memory that is new to the caches. Some
probes are timed both ways, in alternation. The difference is a constant plus a time per megabyte of inputs and outputs.
"""

from collections.abc import Sequence

import numpy as np

from eetool.latency.build.robust_nnls import robust_nnls
from eetool.latency.build.stability import is_steady
from eetool.latency.table.table import Composition
from eetool_measure.probe_timing import ProbeTimes

_DELTA = 0.02  # share of a whole call from which the loss is linear
_LEAST_PROBES = 4


def fit_plain_calls(times: Sequence[ProbeTimes]) -> tuple[float | None, float | None]:
    """Fit the additional cost of plain calls.

    Args:
        times: probe times of one kind and thread count.

    Returns:
        Milliseconds per call, and per megabyte of inputs and outputs; both None where too few probes were called so.
    """
    rows, more_ms, whole_ms = [], [], []
    for probe in (probe for document in times for probe in document.probes):
        if probe.plain_more_ms is not None and probe.io_bytes is not None and is_steady(probe):
            rows.append((1.0, probe.io_bytes / 1e6))
            more_ms.append(probe.plain_more_ms)
            whole_ms.append(probe.latency_ms.median)
    if len(rows) < _LEAST_PROBES:
        return None, None
    whole = np.array(whole_ms)  # (n,): errors count as shares of the whole call
    constant, per_mb = robust_nnls(np.array(rows) / whole[:, None], np.array(more_ms) / whole, _DELTA)
    return round(float(constant), 7), round(float(per_mb), 7)


def plain_call_ms(composition: Composition, bound_ms: float, io_mb: float) -> float | None:
    """Return the latency of a plain call of a graph; None where the table has no figures of them.

    Args:
        composition: of the table.
        bound_ms: latency of a call with bound buffers.
        io_mb: megabytes of inputs and outputs.
    """
    if composition.plain_ms is None or composition.plain_ms_per_mb is None:
        return None
    return bound_ms + composition.plain_ms + composition.plain_ms_per_mb * io_mb
