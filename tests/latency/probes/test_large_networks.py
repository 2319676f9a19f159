"""Probes of large feature maps and foreign kernels: limits, and the kernels that the runtime runs for them."""

from collections import Counter
from pathlib import Path

import pytest

from eetool.latency.build.trace_matching import channel_block, match_trace
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.probes.image_networks import MAX_MACS
from eetool.latency.probes.large_networks import LARGE_FAMILIES, ONNX_ONLY
from eetool.latency.probes.onnx_builder import INPUT
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name
from eetool_measure.probe_timing import measure_probes


def kernels(family: str, seeds: range) -> list[Kernel]:
    return [kernel for seed in seeds for kernel in kernels_of_probe(ProbeNetwork(family, seed), ProbeKind(), 8)]


@pytest.mark.parametrize("family", LARGE_FAMILIES)
def test_large_networks_are_deterministic_and_within_limits(family: str) -> None:
    for seed in range(3):
        net = ProbeNetwork(family, seed)
        assert parse_name(net.name) == net
        one, two = net.build(), net.build()
        assert net.fingerprint == net.fingerprint
        assert [str(node) for node in one.nodes] == [str(node) for node in two.nodes]
        assert one.macs <= 3 * MAX_MACS
        assert max(one.weights[INPUT]) <= 320


def test_large_networks_hold_foreign_kernels() -> None:
    large = kernels("large", range(8))
    windows = {k.shape["kernel"] for k in large if k.kind == "depthwise" and k.shape["height"] >= 28}
    assert {3, 5, 7} <= windows
    assert max(k.shape.get("height", 0) for k in large) >= 112
    groups = {k.shape["groups"] for k in kernels("cardinal", range(8)) if k.kind == "conv"}
    assert {8, 16, 32} <= groups
    norms = [k for k in kernels("channelnorm", range(6)) if k.kind == "norm"]
    assert {"InstanceNormalization", "LayerNormalization"} <= {k.ops[0] for k in norms}
    assert any(k.kind == "matmul" for k in kernels("patches", range(2)))


def test_large_networks_run_the_kernels_that_are_expected(tmp_path: Path) -> None:
    chosen = [ProbeNetwork(family, 1) for family in LARGE_FAMILIES]
    write_probes(tmp_path / "probes", chosen)
    measured = measure_probes(tmp_path / "probes", runs=1)
    block = channel_block(measured.probes)
    for net, probe in zip(chosen, measured.probes, strict=True):
        assert match_trace(kernels_of_probe(net, ProbeKind(), block), probe.kernels) is not None, net.name
        assert probe.io_bytes is not None
    assert sum(probe.plain_more_ms is not None for probe in measured.probes) == 2


def test_write_probes_leaves_out_what_has_no_conversion(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    chosen = [ProbeNetwork(family, 1) for family in LARGE_FAMILIES]
    written = write_probes(tmp_path / "probes", chosen, ProbeKind("tflite"))
    assert [net.family for net in written] == [f for f in LARGE_FAMILIES if f not in ONNX_ONLY]
    assert Counter(net.family for net in written)["large"] == 1
