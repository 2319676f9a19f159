"""Memory that the kernels of CMSIS-NN need beyond the reference kernels, from the shapes of a graph.

Sizes are upper bounds over the cores: the largest of what the functions `arm_*_get_buffer_size` of CMSIS-NN
(github.com/ARM-software/CMSIS-NN) ask for without DSP instructions, with them, and with Helium.
"""

from collections.abc import Callable, Sequence

from eetool.graphs.tflite_graph import TfliteGraph, TfliteTensor
from eetool.microcontroller.memory_plan import aligned

_LANES = 16  # int8 numbers in a vector register of Helium
_COLUMNS = 4  # of the image that a convolution unrolls at a time
_BLOCK = 124  # channels that a depthwise convolution of Helium takes at a time
_INT32_BYTES = 4


def scratch_bytes(graph: TfliteGraph) -> int:
    """Return the largest scratch memory of an operator; it is free again after the operator."""
    return max((aligned(_of(graph, i)) for i in range(len(graph.operations))), default=0)


def constant_sum_bytes(graph: TfliteGraph) -> int:
    """Return the memory for sums of weights that fully connected layers compute once and keep."""
    layers = (o for o in graph.operations if o.op == "FULLY_CONNECTED")
    return sum(aligned(_INT32_BYTES * graph.tensors[layer.reads[1]].shape[0]) for layer in layers)


def _of(graph: TfliteGraph, operation: int) -> int:
    own = graph.operations[operation]
    size = _SCRATCH.get(own.op)
    return 0 if size is None else size([graph.tensors[index] for index in (*own.reads, *own.writes) if index >= 0])


def _convolution(ends: Sequence[TfliteTensor]) -> int:
    _, height, width, _ = ends[1].shape
    column = height * width * ends[0].shape[-1]  # of all inputs, also where the weights have groups
    return _COLUMNS * -(-column // _LANES) * _LANES


def _depthwise(ends: Sequence[TfliteTensor]) -> int:
    _, height, width, channels = ends[1].shape
    opened = 2 * channels * height * width  # as int16
    single = _convolution_of_one_channel(ends) if ends[0].shape[-1] == 1 else 0
    return max(opened, _COLUMNS * _BLOCK * height * width, single)


def _convolution_of_one_channel(ends: Sequence[TfliteTensor]) -> int:
    _, height, width, channels = ends[1].shape
    return _COLUMNS * -(-height * width // _LANES) * _LANES + channels * height * width


def _fully_connected(ends: Sequence[TfliteTensor]) -> int:
    outputs, inputs = ends[1].shape
    return _INT32_BYTES * (2 * outputs + inputs)  # as a convolution, whose scales are spread over the channels


def _average_pool(ends: Sequence[TfliteTensor]) -> int:
    return _INT32_BYTES * ends[0].shape[-1]


_SCRATCH: dict[str, Callable[[Sequence[TfliteTensor]], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _average_pool,
}
