"""From times to tables: what a trace adds is taken off, what does not add up is left out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from eetool.latency.build.table_from_traces import (
    consistent_probes,
    fit_overheads,
    make_table_from_traces,
    match_probes,
)
from eetool.latency.build.trace_matching import channel_block, match_trace
from eetool.latency.kernels.kernel import Kernel, work
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool_measure.machine import read_machine
from eetool_measure.machine_state import MachineState
from eetool_measure.probe_timing import KernelTime, ProbeTime, ProbeTimes
from eetool_measure.runtime_overhead import RuntimeOverhead
from eetool_measure.timing import Latency

DISPATCH_US, NOTING_US = 8.0, 3.0


def true_us(kernel: Kernel) -> float:
    done = work(kernel)
    return 0.5 + done.macs / 5e4 + done.moved_bytes / 1e4


def traced(net: ProbeNetwork, block: int = 8) -> list[KernelTime]:
    times = []
    for kernel in kernels_of_probe(net, ProbeKind(), block):
        op, name = kernel.ops[0], kernel.name
        elements = kernel.shape.get("elements", 1)
        us = true_us(kernel) + NOTING_US
        times.append(KernelTime(name, op, elements, elements, block if op == "ReorderInput" else 1, us, 60))
    return times


def probe(net: ProbeNetwork, mad: float = 0.01, factor: float = 1.0) -> ProbeTime:
    whole_ms = factor * (DISPATCH_US + sum(true_us(kernel) for kernel in kernels_of_probe(net, ProbeKind(), 8))) / 1e3
    return ProbeTime(net.name, Latency(whole_ms, whole_ms, whole_ms, mad * whole_ms, 50), tuple(traced(net)))


def times(probes: Sequence[ProbeTime]) -> ProbeTimes:
    cascade, calm = RuntimeOverhead(0.004, 0.001), MachineState("performance", 1500.0, 50.0, False)
    return ProbeTimes(
        "probe_times/1", "onnx", "fp32", "onnxruntime", 1, cascade, tuple(probes), calm, calm, read_machine()
    )


NETS = [
    ProbeNetwork(family, seed) for seed in range(3) for family in ("plain", "residual", "inverted", "dense", "tokens")
]


@pytest.fixture(scope="module")
def probes() -> list[ProbeTime]:
    return [probe(net) for net in NETS]


def test_every_kernel_finds_its_time() -> None:
    for net in NETS[:5]:
        kernels, given = kernels_of_probe(net, ProbeKind(), 8), traced(net)
        backwards = sorted(given, key=lambda timed: timed.name.partition(".")[0], reverse=True)  # not their parts
        pairs = match_trace(kernels, backwards)
        assert pairs is not None
        for kernel, timed in pairs:
            assert timed.mean_us == pytest.approx(true_us(kernel) + NOTING_US)
        assert match_trace(kernels, given[1:]) is None
        assert match_trace(kernels[1:], given) is None


def test_blocks_are_told_from_what_goes_into_them(probes: list[ProbeTime]) -> None:
    assert channel_block(probes) == 8
    assert channel_block([dataclasses.replace(probe, kernels=()) for probe in probes]) == 1


def test_dispatch_and_noting_are_found(probes: list[ProbeTime]) -> None:
    known = fit_overheads(match_probes([times(probes)], 8))
    assert known.noting_ms * 1e3 == pytest.approx(NOTING_US, rel=0.02)
    assert known.dispatch_ms * 1e3 == pytest.approx(DISPATCH_US, rel=0.2)


def test_the_table_has_what_was_timed(probes: list[ProbeTime]) -> None:
    table = make_table_from_traces([times(probes)], "lab")
    composition = table.compositions[0]
    assert (composition.channel_block, composition.call_ms, composition.runtime_ms) == (8, 0.004, 0.001)
    assert composition.n == len(NETS)
    ratios = [entry.ms * 1e3 / true_us(entry.as_kernel) for entry in table.entries]
    assert np.median(ratios) == pytest.approx(1, rel=0.05)
    assert all(entry.count and entry.count >= 60 for entry in table.entries)


def test_what_scatters_or_does_not_add_up_is_left_out(probes: list[ProbeTime]) -> None:
    scattered, wrong = probe(NETS[0], mad=0.3), probe(NETS[1], factor=2.0)
    kept = match_probes([times([scattered, wrong, *probes[2:]])], 8)
    assert len(kept) == len(NETS) - 1
    assert len(consistent_probes(kept, fit_overheads(kept))) == len(NETS) - 2


def test_too_few_probes_make_no_table(probes: list[ProbeTime]) -> None:
    with pytest.raises(ValueError, match="probes could be used"):
        make_table_from_traces([times(probes[:2])], "lab")
