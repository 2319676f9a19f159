"""Costs of kernels from latencies of whole networks alone."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from eetool.latency.build.kernel_decomposition import decompose
from eetool.latency.build.table_from_traces import make_table_from_traces
from eetool.latency.kernels.kernel import INT8, Kernel, work
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork, probe_networks
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import FITTED, ONNXRUNTIME
from eetool_measure.probe_timing import ProbeTime
from eetool_measure.timing import Latency
from tests.helpers.probe_times import times

DISPATCH_MS = 0.012


def true_ms(kernel: Kernel) -> float:
    """Not a linear model: convolutions with more input channels are faster."""
    done = work(kernel)
    faster = 1 + np.log2(kernel.shape["in_channels"]) / 8 if kernel.kind == "conv" else 1.0
    return 5e-4 + (done.macs / 2e7 + done.moved_bytes / 2e7) / faster


CHOSEN = [net for net, _ in zip(probe_networks(), range(96), strict=False)]


def whole_ms(kernels: list[Kernel]) -> float:
    return DISPATCH_MS + sum(true_ms(kernel) for kernel in kernels)


def test_decompose_sums_recovers_kernel_costs() -> None:
    networks = [kernels_of_probe(net, ProbeKind(), 8) for net in CHOSEN]
    result = decompose(networks, np.array([whole_ms(kernels) for kernels in networks]))
    expensive = [part for part in result.parts if true_ms(part.kernel) > 0.05]
    ratios = np.array([part.ms / true_ms(part.kernel) for part in expensive])
    assert np.median(np.abs(ratios - 1)) < 0.1
    assert result.parts[0].networks >= 1
    costs = {part.kernel.key: part.ms for part in result.parts}
    sums = [result.dispatch_ms + sum(costs[k.key] for k in kernels) for kernels in networks]
    assert sums == pytest.approx([whole_ms(kernels) for kernels in networks], rel=0.05)


def test_decompose_no_networks_raises_value_error() -> None:
    with pytest.raises(ValueError, match="no network"):
        decompose([], np.empty(0))


def timed(net: ProbeNetwork, kind: ProbeKind) -> ProbeTime:
    ms = whole_ms(kernels_of_probe(net, kind))
    return ProbeTime(net.name, Latency(ms, ms, ms, 0.01 * ms, 30), ())


def test_make_table_from_traces_int8_entries_are_fitted() -> None:
    kind, chosen = ProbeKind("onnx", INT8), CHOSEN[:24]
    document = times([timed(net, kind) for net in chosen])
    table = make_table_from_traces([dataclasses.replace(document, precision=INT8)], "lab")
    assert {entry.kind for entry in table.entries} == {FITTED}
    assert table.compositions[0].precision == INT8
    assert 0 < table.compositions[0].cv_error < 0.5
    costs = KernelCosts(table, "lab", ONNXRUNTIME, INT8, 1)
    assert not costs.warnings
    kernels = kernels_of_probe(ProbeNetwork("plain", 800), kind)
    estimate = table.compositions[0].dispatch_ms + sum(costs.latency(kernel).value for kernel in kernels)
    assert estimate == pytest.approx(whole_ms(kernels), rel=0.5)


def test_decompose_disturbed_network_is_excluded() -> None:
    networks = [kernels_of_probe(net, ProbeKind(), 8) for net in CHOSEN]
    real = np.array([whole_ms(kernels) for kernels in networks])
    scattered = real * np.random.default_rng(0).normal(1, 0.01, len(real))
    families = Counter(net.family for net in CHOSEN)
    disturbed = next(number for number, net in enumerate(CHOSEN) if net.family == "residual" and number > 20)
    assert families["residual"] > 4
    scattered[disturbed] *= 1.8
    result = decompose(networks, scattered)
    assert disturbed not in result.kept
    assert len(result.kept) > 0.9 * len(networks)
