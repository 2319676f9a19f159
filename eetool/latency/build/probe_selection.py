"""Selection of the next probe networks: first evenly, then where the table so far is least certain.

Uncertainties of a family count more where a table without it errs most.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from eetool.latency.build.profile_assembly import SOURCE
from eetool.latency.build.table_from_traces import family_errors, make_table_from_traces
from eetool.latency.kernels.kernel import FP32
from eetool.latency.probes.large_networks import ONNX_ONLY
from eetool.latency.probes.probe_files import ONNX, ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name, probe_networks
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import BACKENDS
from eetool_measure.probe_timing import ProbeTimes

_BATCH = 32  # networks that are written and measured together
_SHARE_EVEN = 0.6  # share of the networks drawn evenly; the rest are drawn where the table is least certain
_WEIGHTS = 0.5, 3.0  # of a family's uncertainties, by its error when it is left out
_CANDIDATES = 3  # candidates for each selected network
_TABLE_EVERY = 4  # batches between two tables


def next_probes(done: Sequence[ProbeTimes], kind: ProbeKind, planned: int, first_seed: int) -> list[ProbeNetwork]:
    """Return the next batch of networks to measure.

    Args:
        done: times so far, of one kind and thread count.
        kind: format and precision of the probes.
        planned: number of networks in all.
        first_seed: least seed of a network.
    """
    measured = [net for d in done for probe in d.probes if (net := parse_name(probe.name)) is not None]
    count = min(_BATCH, planned - len(measured))
    first = max(first_seed, max((net.seed + 1 for net in measured), default=first_seed))
    if len(measured) < _SHARE_EVEN * planned:
        return _with_twins(itertools.islice(_writable(probe_networks(first), kind), count), kind)[:count]
    usable = done[: len(done) // _TABLE_EVERY * _TABLE_EVERY] or done  # a slightly older table is good enough
    costs = _kernel_costs(kind, tuple(usable))
    candidates = list(itertools.islice(_writable(probe_networks(first), kind), _CANDIDATES * count))
    errors = _family_errors(kind, tuple(done))
    usual = float(np.median(list(errors.values()))) if errors else 1.0
    uncertainties = [
        _uncertainty(net, kind, costs) * float(np.clip(errors.get(net.family, usual) / max(usual, 1e-6), *_WEIGHTS))
        for net in candidates
    ]
    return _with_twins((candidates[i] for i in sorted(np.argsort(uncertainties)[-count:])), kind)[:count]


def _with_twins(networks: Iterable[ProbeNetwork], kind: ProbeKind) -> list[ProbeNetwork]:
    """Return networks and their twins, whose kernels are compared where the runtime traces them."""
    pairs = ((net, net.twin if kind.traced else None) for net in networks)
    return [net for pair in pairs for net in pair if net is not None]


_errors: dict[tuple[ProbeKind, int], dict[str, float]] = {}


def _family_errors(kind: ProbeKind, done: tuple[ProbeTimes, ...]) -> dict[str, float]:
    """Return the errors of left-out families, once for each build: they change little and take long."""
    key = kind, done[0].threads
    if key not in _errors:
        _errors.clear()
        _errors[key] = family_errors(done, SOURCE)
    return _errors[key]


def _writable(networks: Iterable[ProbeNetwork], kind: ProbeKind) -> Iterator[ProbeNetwork]:
    return (net for net in networks if kind.format == ONNX or net.family not in ONNX_ONLY)


_latest: dict[tuple[ProbeKind, int, int], KernelCosts] = {}


def _kernel_costs(kind: ProbeKind, done: tuple[ProbeTimes, ...]) -> KernelCosts:
    key = kind, done[0].threads, len(done)
    if key not in _latest:
        _latest.clear()
        table = make_table_from_traces(done, SOURCE, validate=False)
        _latest[key] = KernelCosts(table, "this machine", BACKENDS[kind.format], kind.precision, done[0].threads)
    return _latest[key]


def _uncertainty(net: ProbeNetwork, kind: ProbeKind, costs: KernelCosts) -> float:
    """Return the uncertainty of a network's latency under the table, as a share of the latency.

    Quantisation is slow, so an int8 network is approximated by its float kernels, all taken as int8.
    """
    kernels = kernels_of_probe(net, replace(kind, precision=FP32), costs.composition.channel_block)
    estimates = [costs.latency(replace(kernel, precision=kind.precision)) for kernel in kernels]
    total = sum(cost.value for cost in estimates)
    return sum(cost.value * cost.deviation for cost in estimates) / total
