"""Matching of traced kernel times to the kernels of a probe."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from eetool.latency.kernels.kernel import Kernel
from eetool.latency.kernels.onnx_fusion import INTO_BLOCKS, OUT_OF_BLOCKS
from eetool_measure.probe_timing import KernelTime, ProbeTime

_STEP = re.compile(r"s[0-9]+(?=\.)")


def channel_block(times: Iterable[ProbeTime]) -> int:
    """Return the channels per block on the device; 1 where it does not use blocks.

    The block divides the channels of every tensor in blocks, so it is the largest common power of two.
    """
    channels = [timed.channels_out for probe in times for timed in probe.kernels if timed.op == INTO_BLOCKS]
    return min((count & -count for count in channels), default=1)


def match_trace(kernels: Sequence[Kernel], times: Sequence[KernelTime]) -> list[tuple[Kernel, KernelTime]] | None:
    """Match each kernel with its traced time.

    Kernels are named after their step. Reorders are inserted by the runtime, so they are matched by their size.

    Args:
        kernels: kernels of the probe, in order.
        times: traced times of the same probe.

    Returns:
        One pair per kernel; None where the runtime ran other kernels than expected.
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
