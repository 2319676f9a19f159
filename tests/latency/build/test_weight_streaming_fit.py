"""Fit of the cost of weights that do not stay in the caches: pairs of one device that has such a cost, or none."""

import numpy as np
import pytest

from eetool.latency.build.probe_selection import next_probes
from eetool.latency.build.table_from_traces import make_table_from_traces
from eetool.latency.build.weight_streaming_fit import TimedKernels, fit_weight_streaming
from eetool.latency.probes.heavy_networks import HEAVY
from eetool.latency.probes.image_networks import MAX_MACS
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name
from eetool.latency.table.weight_streaming import WeightStreaming, reused_mb, weight_mb
from tests.helpers.probe_times import NETS, probe, times, true_us

PAIRS = [net for seed in range(10) for net in (ProbeNetwork(HEAVY, seed), ProbeNetwork(HEAVY, seed).twin) if net]
TRUE = WeightStreaming(resident_mb=5.66, ms_per_mb=0.02, ms_per_kernel=0.0005)


def timed(net: ProbeNetwork, streaming: WeightStreaming) -> TimedKernels:
    kernels = kernels_of_probe(net, ProbeKind(), 8)
    total_mb = weight_mb(kernels)
    return [(k, true_us(k) / 1e3 + streaming.ms(reused_mb([k]), 1, total_mb)) for k in kernels]


def test_heavy_networks_hold_many_weights_and_their_twins_the_same_kernels() -> None:
    for heavy, twin in zip(PAIRS[::2], PAIRS[1::2], strict=True):
        assert parse_name(twin.name) == twin
        of_heavy, of_twin = (kernels_of_probe(net, ProbeKind(), 8) for net in (heavy, twin))
        assert 5.5 <= weight_mb(of_heavy) <= 60
        assert heavy.build().macs <= 7 * MAX_MACS
        shared = {kernel.key for kernel in of_twin}
        assert np.mean([kernel.key in shared for kernel in of_heavy]) > 0.5
        assert len(of_twin) < len(of_heavy)


def test_fit_weight_streaming_recovers_the_cost_of_a_device() -> None:
    fit = fit_weight_streaming([(net.name, timed(net, TRUE)) for net in PAIRS])
    assert fit is not None
    assert fit.resident_mb == pytest.approx(TRUE.resident_mb, abs=0.01)
    assert fit.ms_per_mb == pytest.approx(TRUE.ms_per_mb, rel=0.1)
    assert fit.ms_per_kernel == pytest.approx(TRUE.ms_per_kernel, rel=0.25)


def test_fit_weight_streaming_without_a_cost_or_with_few_pairs_is_none() -> None:
    nothing = WeightStreaming(1.0, 0.0, 0.0)
    assert fit_weight_streaming([(net.name, timed(net, nothing)) for net in PAIRS]) is None
    assert fit_weight_streaming([(net.name, timed(net, TRUE)) for net in PAIRS[:6]]) is None
    assert make_table_from_traces([times([probe(net) for net in NETS])], "lab", False).compositions[0].streaming is None


def test_next_probes_heavy_networks_bring_their_twins() -> None:
    batch = next_probes([], ProbeKind(), 1000, 0)
    heavy = [net for net in batch if net.family == HEAVY]
    assert heavy
    assert {net.twin for net in heavy} <= set(batch)
    assert not [net for net in next_probes([], ProbeKind("tflite"), 1000, 0) if net.family == "shallow"]
