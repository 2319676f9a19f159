"""Speed classes of kernels: by which part of a machine their time is limited.

A machine does not become slower evenly. Another clock changes what computes, a busy neighbour on the memory bus what
moves numbers, and another kernel of the system the cost of calls. The limits follow from the work alone, so that a
kernel has the same class on every device.
"""

from eetool.latency.kernels.kernel import Kernel, work

COMPUTE, MEMORY, CALLS = "compute", "memory", "calls"
SPEED_CLASSES = (COMPUTE, MEMORY, CALLS)

_FEW_MACS, _FEW_BYTES = 2e5, 32e3  # a kernel with less work is mostly its call
_MACS_PER_BYTE = 4.0  # from here on, caches and memory deliver faster than a core computes


def speed_class(kernel: Kernel) -> str:
    """Return the class of a kernel: `compute`, `memory` or `calls`."""
    done = work(kernel)
    if done.macs < _FEW_MACS and done.moved_bytes < _FEW_BYTES:
        return CALLS
    return COMPUTE if done.macs >= _MACS_PER_BYTE * done.moved_bytes else MEMORY
