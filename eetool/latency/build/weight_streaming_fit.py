"""Fit of the cost of weights that caches do not hold, from pairs of probes: one layer repeated, and a few of it.

Both hold the same kernels and are measured within a minute, so their difference is no error of a table.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from eetool.latency.build.robust_nnls import robust_nnls
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.probes.heavy_networks import HEAVY, SHALLOW
from eetool.latency.probes.probe_network import parse_name
from eetool.latency.table.weight_streaming import WeightStreaming, reused_mb, weight_mb

_RESIDENT_MB = tuple(0.5 * 2 ** (step / 2) for step in range(11))  # heavy probes have 6 to 40 MB
_LEAST_PAIRS = 8
_DELTA = 0.02  # share of a call from which the loss is linear

TimedKernels = Sequence[tuple[Kernel, float]]  # with milliseconds


def fit_weight_streaming(probes: Iterable[tuple[str, TimedKernels]]) -> WeightStreaming | None:
    """Fit the cost of weights that caches do not hold.

    Args:
        probes: names and kernel times of probes; pairs are told by their seed.

    Returns:
        The fit of the smallest error; None where there are few pairs, or heavy networks cost nothing more.
    """
    rows = _differences(probes)
    if len(rows) < _LEAST_PAIRS:
        return None
    heavy_mb, shallow_mb, own_mb, kernels, extra, whole = np.array(rows).T  # each (n,)
    fits = []
    for resident_mb in _RESIDENT_MB:
        share = np.clip(heavy_mb / resident_mb - 1, 0, 1) - np.clip(shallow_mb / resident_mb - 1, 0, 1)
        terms = np.stack((share * own_mb, share * kernels), axis=1) / whole[:, None]  # (n, 2)
        costs = robust_nnls(terms, extra / whole, _DELTA)
        errors = np.abs(terms @ costs - extra / whole)
        loss = np.where(errors <= _DELTA, errors**2 / (2 * _DELTA), errors - _DELTA / 2).sum()
        fits.append((float(loss), resident_mb, costs))
    _, resident_mb, costs = min(fits, key=lambda fit: fit[0])
    if not costs.any():
        return None
    return WeightStreaming(round(resident_mb, 2), round(float(costs[0]), 7), round(float(costs[1]), 7))


def _differences(probes: Iterable[tuple[str, TimedKernels]]) -> list[tuple[float, ...]]:
    """Return a row for each pair of networks.

    Columns: megabytes of weights of the heavy and of the shallow one; of the kernels that both have the megabytes, the
    number, the additional milliseconds in the heavy one, and all milliseconds there.
    """
    by_family: dict[str, dict[int, TimedKernels]] = {HEAVY: {}, SHALLOW: {}}
    for name, timed in probes:
        net = parse_name(name)
        if net is not None and net.family in by_family:
            by_family[net.family][net.seed] = timed
    rows = []
    for seed, heavy in by_family[HEAVY].items():
        shallow = by_family[SHALLOW].get(seed, ())
        known = _mean_ms(shallow)
        both = [(kernel, ms) for kernel, ms in heavy if kernel.key in known]
        if both:
            whole_ms = sum(ms for _, ms in both)
            extra_ms = whole_ms - sum(known[kernel.key] for kernel, _ in both)
            totals_mb = (weight_mb([kernel for kernel, _ in net]) for net in (heavy, shallow))
            rows.append((*totals_mb, reused_mb([kernel for kernel, _ in both]), float(len(both)), extra_ms, whole_ms))
    return rows


def _mean_ms(timed: TimedKernels) -> dict[object, float]:
    times: dict[object, list[float]] = defaultdict(list)
    for kernel, ms in timed:
        times[kernel.key].append(ms)
    return {key: float(np.mean(values)) for key, values in times.items()}
