"""Whose time a trace shows: kernels of a probe, matched with what the runtime timed while it ran."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from eetool.latency.kernels.kernel import Kernel
from eetool.latency.kernels.onnx_fusion import INTO_BLOCKS, OUT_OF_BLOCKS
from eetool_measure.probe_timing import KernelTime, ProbeTime

_STEP = re.compile(r"s[0-9]+(?=\.)")


def channel_block(times: Iterable[ProbeTime]) -> int:
    """Channels per block on the device, which divide those of every tensor in blocks; 1 where there are no blocks."""
    channels = [timed.channels_out for probe in times for timed in probe.kernels if timed.op == INTO_BLOCKS]
    return min((count & -count for count in channels), default=1)  # the largest power of two that divides all


def match_trace(kernels: Sequence[Kernel], times: Sequence[KernelTime]) -> list[tuple[Kernel, KernelTime]] | None:
    """Each kernel with its time; None where the runtime made something else of this graph.

    Kernels are named after their step. Those that reorder are the runtime's own, so they are told by their size.
    """
    named: dict[str, list[KernelTime]] = defaultdict(list)
    reorders: dict[tuple[str, int], list[KernelTime]] = defaultdict(list)
    for timed in times:
        step = _STEP.search(timed.name)
        if timed.op in (INTO_BLOCKS, OUT_OF_BLOCKS):
            plain = timed.elements_in if timed.op == INTO_BLOCKS else timed.elements_out
            reorders[timed.op, plain].append(timed)
        elif step is not None:
            named[step.group()].append(timed)
    pairs = []
    for kernel in kernels:
        if kernel.ops[0] in (INTO_BLOCKS, OUT_OF_BLOCKS):
            queue = reorders[kernel.ops[0], kernel.shape["elements"]]
        else:
            step = _STEP.search(kernel.name)
            queue = named[step.group()] if step else []
        if not queue:
            return None
        pairs.append((kernel, queue.pop(0)))
    left = sum(len(queue) for queue in (*named.values(), *reorders.values()))
    return pairs if left == 0 else None
