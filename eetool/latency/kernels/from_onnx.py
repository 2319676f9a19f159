"""Kernels of an ONNX file: the fused steps that the runtime runs, with their kinds and sizes."""

import math
from collections.abc import Callable
from pathlib import Path

from eetool.graphs.onnx_graph import SizedGraph, damage_as_error, read_graph, remove_duplicate_nodes
from eetool.latency.kernels.kernel import AVERAGE, CONVERTED, CUT, EXPONENTIAL_PASS, FP32, INT8, JOINED, PASS, Kernel
from eetool.latency.kernels.onnx_fusion import (
    ACTIVATIONS,
    INTO_BLOCKS,
    OUT_OF_BLOCKS,
    FusedStep,
    fuse_graph,
    is_channel_scale,
)
from eetool.latency.kernels.onnx_int8_layout import insert_layout_changes
from eetool.latency.kernels.operator_macs import macs_of_operator

_LIGHT = (
    *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Relu", "LeakyRelu", "PRelu", "Clip", "Min", "Max", "Where", "Sqrt"),
    *("HardSigmoid", "HardSwish", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Not", "And", "Or", "Equal", "Cast"),
    *("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "QuantizeLinear", "DequantizeLinear", "Sum", "Mean"),
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ArgMax"),
    *("ArgMin", "CumSum", "Mod", "BitShift", "Xor", "IsNaN", "ReduceProd", "TopK"),
)
_HEAVY = (
    *("Exp", "Log", "Erf", "Tanh", "Sigmoid", "Softplus", "Softsign", "Elu", "Selu", "Gelu", "Pow", "Sin", "Cos"),
    *("Mish", "Swish", "com.microsoft.Gelu", "com.microsoft.FastGelu", "com.microsoft.QuickGelu", "ReduceLogSumExp"),
)
_COPIES = (
    *("Transpose", "Concat", "Slice", "Pad", "Split", "Gather", "GatherElements", "GatherND", "Expand", "Tile"),
    *("Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "ScatterElements", "ScatterND", "ConstantOfShape"),
    *("Range", "OneHot", "Trilu"),
)
_STRIDED = ("Transpose", "DepthToSpace", "SpaceToDepth")  # do not keep neighbours in memory
_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Shape", "Size", "Identity", "Dropout")
_ROW_NORMS = (
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "LpNormalization"),
    *("com.microsoft.SkipLayerNormalization", "SimplifiedLayerNormalization"),
)

_FORMS_IN_INT8 = {
    **{"QuantizeLinear": CONVERTED, "DequantizeLinear": CONVERTED, "AveragePool": AVERAGE, "Concat": JOINED},
    **{"Split": CUT, "Slice": CUT},
}

Sizes = dict[str, int]


def kernels_from_file(path: Path, channel_block: int = 1) -> list[Kernel]:
    """Return the kernels of an ONNX file at its own batch size, in execution order.

    Args:
        path: the ONNX file.
        channel_block: channels per block where the runtime keeps tensors of convolutions in blocks, otherwise 1; see
            `Composition.channel_block` of the device's table.

    Raises:
        ArtefactError: the file is missing or not an ONNX file, or its sizes are unknown.
    """
    graph = read_graph(path)
    with damage_as_error(str(path)):
        return kernels_from_graph(graph, channel_block)


def kernels_from_graph(
    graph: SizedGraph, channel_block: int = 1, sums: bool = True, repeats: bool = False
) -> list[Kernel]:
    """Return the kernels of a graph, in execution order.

    Args:
        graph: the graph.
        channel_block: as for `kernels_from_file`.
        sums: whether the runtime fuses sums into convolutions.
        repeats: whether the runtime computes equal operators on equal tensors repeatedly, which few runtimes do.
    """
    steps = fuse_graph(graph if repeats else remove_duplicate_nodes(graph), channel_block, sums)
    steps = insert_layout_changes(graph, steps)
    return [_kernel(step, graph) for step in steps]


def _kernel(step: FusedStep, graph: SizedGraph) -> Kernel:
    op = step.node.op
    scales = step.blocked and is_channel_scale(step, graph)
    kind, shape = (_batch_norm if scales else _BY_OP.get(op, _other))(step, graph)
    precision = INT8 if step.int8 or op in ("QuantizeLinear", "DequantizeLinear") else FP32
    if precision == INT8 and op in _FORMS_IN_INT8:
        shape = {**shape, "form": _FORMS_IN_INT8[op]}
    return Kernel(kind, shape, precision, step.node.name, tuple(step.ops))


def _conv(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    read, weights = graph.shapes.get(step.reads[0], ()), graph.shapes.get(step.node.inputs[1], ())
    written = graph.shapes.get(step.written, ())
    if len(weights) not in (3, 4) or len(read) != len(weights) or len(written) != len(weights):
        return _other(step, graph)
    flat = len(weights) == 3  # in one dimension: images of one line
    (height, width), (out_height, out_width) = (_sides(read, flat), _sides(written, flat))
    kernel = (1, weights[2]) if flat else weights[2:]
    groups, channels = int(step.node.attributes.get("group", 1)), read[1]
    common = {
        **images(written[0]),
        **{"height": height, "width": width, "kernel": kernel[0], "kernel_w": kernel[1]},
        **{"stride": int(max(step.node.attributes.get("strides", [1]))), "activation": _activation(step)},
        **{"out_height": out_height, "out_width": out_width},
    }
    if groups > 1 and groups == channels and not step.added:
        return "depthwise", {"channels": channels, "multiplier": weights[0] // channels, **common}
    sizes = {"in_channels": channels, "out_channels": weights[0], "groups": groups, "add": int(step.added)}
    return "conv", {**sizes, **common}


def _activation(step: FusedStep) -> int:
    """Return the kind of activation; in blocks only Relu is fused, others are a second pass over the output."""
    fused = [op for op in step.ops if op in ACTIVATIONS]
    if not step.blocked or not fused or fused[-1] == "Relu":
        return int(step.activation)
    return EXPONENTIAL_PASS if fused[-1] in ("Sigmoid", "Tanh") else PASS


def images(count: int) -> Sizes:
    """Return the size `batch` of a kernel; none for one image, as tables have it."""
    return {"batch": count} if count > 1 else {}


def _sides(shape: tuple[int, ...], flat: bool) -> tuple[int, int]:
    return (1, shape[2]) if flat else (shape[2], shape[3])


def _product(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    left, right = graph.shapes.get(step.node.inputs[0], ()), graph.shapes.get(step.node.inputs[1], ())
    if step.node.inputs[1] in graph.constants and len(right) == 2:
        inner = right[1] if step.node.attributes.get("transB", 0) else right[0]
        rows = max(1, graph.size(step.node.inputs[0]) // inner)
        features = graph.size(step.node.inputs[1]) // inner
        return "linear", _linear(inner, features, rows, step.activation)
    if len(left) < 2 or len(right) < 2:
        return _other(step, graph)
    out = graph.shapes.get(step.written, ())
    if len(out) < 2:
        return _other(step, graph)
    inner = left[-2] if step.node.attributes.get("transA", 0) else left[-1]
    return "matmul", {"batch": max(1, math.prod(out[:-2])), "rows": out[-2], "inner": inner, "columns": out[-1]}


def _linear(inner: int, features: int, rows: int, activation: bool) -> Sizes:
    return {"in_features": inner, "out_features": features, "rows": rows, "activation": int(activation)}


def _pool(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    read, written = graph.shapes.get(step.reads[0], ()), graph.shapes.get(step.written, ())
    if len(read) not in (3, 4) or len(written) != len(read):
        return _other(step, graph)
    flat = len(read) == 3
    kernel = [1, *step.node.attributes["kernel_shape"]][-2:]
    (height, width), (out_height, out_width) = _sides(read, flat), _sides(written, flat)
    return "pool", {
        **images(read[0]),
        **{"channels": read[1], "height": height, "width": width, "kernel": int(kernel[0]), "kernel_w": int(kernel[1])},
        **{"stride": int(max(step.node.attributes.get("strides", [1]))), "blocked": int(step.blocked)},
        **{"out_height": out_height, "out_width": out_width},
    }


def _global_pool(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    read = graph.shapes.get(step.reads[0], ())
    height, width = _sides(read, len(read) == 3) if len(read) in (3, 4) else (1, graph.size(step.reads[0]))
    channels = read[1] if len(read) in (3, 4) else 1
    marks = {"blocked": int(step.blocked), "reduced": int(step.node.op.startswith("Reduce"))}
    marks |= images(read[0]) if len(read) in (3, 4) else {}
    return "global_pool", {"channels": channels, "height": height, "width": width, **marks}


def _mean(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    """Return global pooling for a mean over height and width, and an elementwise kernel for other means."""
    read, written = graph.shapes.get(step.reads[0], ()), graph.size(step.written)
    if len(read) == 4 and written == read[0] * read[1]:
        return _global_pool(step, graph)
    return _elementwise(step, graph)


def _elementwise(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    reads = sum(graph.size(name) for name in step.node.inputs if name)
    marks = {"heavy": int(step.node.op in _HEAVY), "blocked": int(step.blocked)}
    return "elementwise", {"elements": graph.size(step.written), "reads": max(reads, 1), **marks}


def _copy(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    written = sum(graph.size(name) for name in step.node.outputs if name)
    blocked = {INTO_BLOCKS: 1, OUT_OF_BLOCKS: 2}.get(step.node.op, 0)
    reads = min(written, sum(graph.size(name) for name in step.reads))
    run = 0 if blocked else _run(step, graph)
    strided = int(step.node.op in _STRIDED and run == 1)
    return "layout", {"elements": written, "reads": max(reads, 1), "blocked": blocked, "strided": strided, "run": run}


def _run(step: FusedStep, graph: SizedGraph) -> int:
    """Return how many numbers a copy leaves beside each other; 0 where that is not known."""
    shapes = [graph.shapes.get(name) for name in (*step.reads, *step.node.outputs) if name]
    if not step.reads or any(shape is None for shape in shapes):
        return 0
    read, written = graph.shapes[step.reads[0]], graph.shapes[step.node.outputs[0]]
    if step.node.op == "Transpose":
        return _kept_run(read, list(step.node.attributes.get("perm", range(len(read) - 1, -1, -1))))
    if step.node.op == "Gather":
        return math.prod(read[int(step.node.attributes.get("axis", 0)) % len(read) + 1 :])
    if step.node.op in _STRIDED:
        return 1
    parts = [shape for shape in shapes if shape is not None and len(shape) == len(written) and shape != written]
    return min((_shared_run(shape, written) for shape in parts), default=math.prod(written))


def _kept_run(shape: tuple[int, ...], perm: list[int]) -> int:
    """Return the product of the trailing axes that a transposition leaves in their places, axes of 1 aside."""
    moved = [axis for axis in perm if shape[axis] != 1]
    run = 1
    for axis, before in zip(reversed(moved), sorted(moved, reverse=True), strict=True):
        if axis != before:
            break
        run *= shape[axis]
    return run


def _shared_run(part: tuple[int, ...], whole: tuple[int, ...]) -> int:
    """Return the neighbours that a tensor and a part of it share: all from the last axis on whose sizes differ."""
    last = max(axis for axis in range(len(part)) if part[axis] != whole[axis])
    return min(math.prod(part[last:]), math.prod(whole[last:]))


def _view(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    return "layout", {"elements": 1, "reads": 1}


def _batch_norm(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    read = graph.shapes.get(step.reads[0], (1, 1))
    channels = read[1] if len(read) > 1 else 1
    return "norm", {"elements": graph.size(step.reads[0]), "channels": channels, "blocked": int(step.blocked)}


def _row_norm(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    return "norm", {"elements": graph.size(step.reads[0]), "channels": 0}


def _softmax(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    columns = (graph.shapes.get(step.reads[0]) or (1,))[step.node.attributes.get("axis", -1)]
    return "softmax", {"rows": max(1, graph.size(step.reads[0]) // max(columns, 1)), "columns": max(columns, 1)}


def _other(step: FusedStep, graph: SizedGraph) -> tuple[str, Sizes]:
    reads = sum(graph.size(name) for name in step.node.inputs if name)
    sizes = {"elements": graph.size(step.written), "reads": max(reads, 1)}
    count = macs_of_operator(step.node, graph)
    return "other", {**sizes, "macs": count} if count else sizes


_BY_OP: dict[str, Callable[[FusedStep, SizedGraph], tuple[str, Sizes]]] = {
    **dict.fromkeys((*_LIGHT, *_HEAVY), _elementwise),
    **dict.fromkeys((*_COPIES, INTO_BLOCKS, OUT_OF_BLOCKS), _copy),
    **dict.fromkeys(_VIEWS, _view),
    **dict.fromkeys(_ROW_NORMS, _row_norm),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "Conv": _conv,
    "ReduceMean": _mean,
    "BatchNormalization": _batch_norm,
}


def unknown_operators(kernels: list[Kernel]) -> list[str]:
    """Return the operators of unknown kind, each once, sorted."""
    return sorted({kernel.ops[0] for kernel in kernels if kernel.kind == "other" and kernel.ops})


def total_macs(kernels: list[Kernel]) -> int:
    """Return the multiply-accumulates of all kernels."""
    return sum(kernel.macs for kernel in kernels)
