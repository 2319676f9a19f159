"""Probe times of a device whose kernel times follow one formula."""

from collections.abc import Sequence

from eetool.latency.kernels.kernel import Kernel, work
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool_measure.machine import read_machine
from eetool_measure.machine_state import MachineState
from eetool_measure.probe_timing import KernelTime, ProbeTime, ProbeTimes
from eetool_measure.runtime_overhead import RuntimeOverhead
from eetool_measure.timing import Latency

DISPATCH_US, PROFILER_OVERHEAD_US = 8.0, 3.0
NETS = [
    ProbeNetwork(family, seed) for seed in range(3) for family in ("plain", "residual", "inverted", "dense", "tokens")
]


def true_us(kernel: Kernel) -> float:
    done = work(kernel)
    return 0.5 + done.macs / 5e4 + done.moved_bytes / 1e4


def traced(net: ProbeNetwork, block: int = 8) -> list[KernelTime]:
    times = []
    for kernel in kernels_of_probe(net, ProbeKind(), block):
        op, name = kernel.ops[0], kernel.name
        elements = kernel.shape.get("elements", 1)
        us = true_us(kernel) + PROFILER_OVERHEAD_US
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
