"""Kernels of a TFLite file: the steps that LiteRT runs on a CPU through XNNPACK.

The converter has fused activations already. XNNPACK also fuses constant padding into the following convolution.
Reshapes cost almost nothing. The interpreter runs the operators that XNNPACK rejects, several times slower, and they
split the delegated graph in two. This list comes from running each alone with ai-edge-litert 2.3.
"""

from collections.abc import Callable, Sequence

from eetool.graphs.tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor
from eetool.latency.kernels.from_onnx import images
from eetool.latency.kernels.kernel import (
    AVERAGE,
    CONVERTED,
    CUT,
    FP32,
    INT8,
    INTERPRETED,
    JOINED,
    LARGE_WINDOW,
    PADDED,
    RESIZED,
    USUAL,
    Kernel,
)

_NOT_IN_XNNPACK = (
    *("PADV2", "MIRROR_PAD", "RESIZE_NEAREST_NEIGHBOR", "GATHER", "GATHER_ND", "TILE", "REVERSE_V2", "ONE_HOT", "FILL"),
    *("PACK", "UNPACK", "CAST", "POW", "LOG", "ARG_MAX", "ARG_MIN", "SELECT", "EQUAL", "LESS", "GREATER", "RANGE"),
)
_NOT_IN_XNNPACK_INT8 = (
    *("RELU", "HARD_SWISH", "GELU", "RSQRT", "SQRT", "SQUARED_DIFFERENCE", "MAXIMUM", "AVERAGE_POOL_2D"),
    "BATCH_MATMUL",
)
_LARGEST_WINDOW = 25  # taps of a depthwise convolution for which XNNPACK has a kernel
_HEAVY = ("LOGISTIC", "TANH", "EXP", "GELU", "RSQRT", "SQRT", "POW", "ELU", "LOG", "SIN", "COS")
_LIGHT = (
    *("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "NEG", "ABS", "SQUARE", "FLOOR", "CEIL"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "PRELU", "HARD_SWISH", "QUANTIZE", "DEQUANTIZE", "CAST", "ROUND"),
    *("SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "ARG_MAX", "ARG_MIN", "SELECT", "SELECT_V2", "EQUAL", "LESS"),
    *("GREATER", "LESS_EQUAL", "GREATER_EQUAL", "NOT_EQUAL", "LOGICAL_NOT", "LOGICAL_AND", "LOGICAL_OR", "SIGN"),
)
_COPIES = (
    *("TRANSPOSE", "PAD", "PADV2", "MIRROR_PAD", "STRIDED_SLICE", "SLICE", "CONCATENATION", "SPLIT", "SPLIT_V"),
    *("GATHER", "GATHER_ND", "BROADCAST_TO", "TILE", "PACK", "UNPACK", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
    *("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "EMBEDDING_LOOKUP", "REVERSE_V2", "ONE_HOT", "FILL", "RANGE"),
)
_VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE")
_STRIDED = ("TRANSPOSE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
_PADS = ("PAD", "PADV2")
_WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D")

Sizes = dict[str, int]


def kernels_from_tflite(graph: TfliteGraph) -> list[Kernel]:
    """Return the kernels of a TFLite graph at its own batch size, in execution order."""
    padded = _padded(graph)
    kernels = []
    for number, operation in enumerate(graph.operations):
        if operation in padded.values():
            continue
        reads = [graph.tensors[i] for i in operation.reads if i >= 0]
        ops: tuple[str, ...] = (operation.op,)
        if number in padded:
            pad = padded[number]
            reads[0], ops = graph.tensors[pad.reads[0]], (pad.op, operation.op)
        kernels.append(_kernel(operation, reads, [graph.tensors[i] for i in operation.writes], f"n{number}", ops))
    return kernels


def _padded(graph: TfliteGraph) -> dict[int, TfliteOperator]:
    """Return the padding that is fused into each convolution, by the index of the convolution."""
    makers = {o.writes[0]: o for o in graph.operations if o.op in _PADS}
    counts: dict[int, int] = dict.fromkeys(graph.outputs, 1)
    for operation in graph.operations:
        for index in operation.reads:
            counts[index] = counts.get(index, 0) + 1
    return {
        number: makers[o.reads[0]]
        for number, o in enumerate(graph.operations)
        if o.op in _WINDOWS and o.reads[0] in makers and counts[o.reads[0]] == 1
    }


def _kernel(
    operation: TfliteOperator,
    reads: Sequence[TfliteTensor],
    writes: Sequence[TfliteTensor],
    name: str,
    ops: tuple[str, ...],
) -> Kernel:
    kind, shape = _BY_OP.get(operation.op, _other)(operation, reads, writes[0])
    precision = INT8 if any(tensor.int8 for tensor in (*reads, *writes)) else FP32
    form = INTERPRETED if _is_interpreted(operation, reads, writes[0]) else _FORMS.get(operation.op, USUAL)
    if form != USUAL and kind != "other" and not _is_view(kind, shape):
        shape = {**shape, "form": form}
    return Kernel(kind, shape, precision, name, ops)


def _is_interpreted(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> bool:
    """Return whether the interpreter runs an operator."""
    if o.op == "STRIDED_SLICE":
        return any(stride != 1 for stride in reads[3].values)
    if written.int8 and o.op in ("ADD", "SUB"):  # scales of single numbers differ too much from the others
        return any(tensor.constant and tensor.size == 1 for tensor in reads)
    return o.op in _NOT_IN_XNNPACK or (written.int8 and o.op in _NOT_IN_XNNPACK_INT8)


def _is_view(kind: str, shape: Sizes) -> bool:
    return kind == "layout" and shape["elements"] == 1


def _conv(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    read, weights = reads[0].shape, reads[1].shape  # (N, H, W, C) and (out, kernel, kernel, in / groups)
    groups = read[3] // weights[3]
    sizes = {"in_channels": read[3], "out_channels": weights[0], "groups": groups}
    return "conv", {**sizes, **_window(o, read, written.shape, weights[1:3])}


def _depthwise(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    read, weights = reads[0].shape, reads[1].shape  # (N, H, W, C) and (1, kernel, kernel, out)
    sizes = {"channels": read[3], "multiplier": weights[3] // read[3]}
    form = LARGE_WINDOW if weights[1] * weights[2] > _LARGEST_WINDOW else USUAL
    return "depthwise", {**sizes, **_window(o, read, written.shape, weights[1:3]), "form": form}


def _window(o: TfliteOperator, read: Sequence[int], written: Sequence[int], kernel: Sequence[int]) -> Sizes:
    return {
        **images(written[0]),
        **{"height": read[1], "width": read[2], "kernel": kernel[0], "kernel_w": kernel[1]},
        **{"stride": int(max(o.options["strideH"], o.options["strideW"])), "out_height": written[1]},
        **{"out_width": written[2], "activation": int(o.options.get("fusedActivationFunction", 0) != 0)},
    }


def _pool(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    read = reads[0].shape
    kernel = (int(o.options["filterHeight"]), int(o.options["filterWidth"]))
    return "pool", {"channels": read[3], **_window(o, read, written.shape, kernel)}


def _mean(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    """Return global pooling for a mean over height and width; channels are last, or first after a transposition."""
    read = reads[0].shape
    if len(read) == 4 and written.size in (read[0] * read[3], read[0] * read[1]):
        last = written.size == read[0] * read[3]
        channels, (height, width) = (read[3], read[1:3]) if last else (read[1], read[2:])
        sizes = {"channels": channels, "height": height, "width": width, "reduced": int(not last)}
        return "global_pool", {**sizes, **images(read[0])}
    return _elementwise(o, reads[:1], written)


def _fully_connected(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    out, inner = reads[1].shape
    activation = int(o.options.get("fusedActivationFunction", 0) != 0)
    rows = max(1, reads[0].size // inner)
    return "linear", {"in_features": inner, "out_features": out, "rows": rows, "activation": activation}


def _matmul(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    rows, columns = written.shape[-2:]
    inner = max(1, reads[0].size // max(1, written.size // columns))
    batch = max(1, written.size // (rows * columns))
    return "matmul", {"batch": batch, "rows": rows, "inner": inner, "columns": columns}


def _softmax(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    columns = (written.shape or (1,))[-1]
    return "softmax", {"rows": max(1, written.size // columns), "columns": columns}


def _elementwise(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    total = sum(tensor.size for tensor in reads)
    return "elementwise", {"elements": written.size, "reads": max(total, 1), "heavy": int(o.op in _HEAVY)}


def _copy(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    sources = [tensor for tensor in reads if not tensor.constant]
    total, run = sum(tensor.size for tensor in sources), _run(o, reads, written)
    sizes = {"elements": written.size, "reads": max(1, min(written.size, total)), "run": run}
    return "layout", {**sizes, "strided": int(o.op in _STRIDED and run == 1)}


def _run(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> int:
    """Return how many numbers stay neighbours: trailing axes that a transposition keeps, otherwise the least row."""
    if o.op == "TRANSPOSE":
        kept, perm = 1, reads[1].values
        for axis in reversed(range(len(perm))):
            if perm[axis] != axis:
                break
            kept *= written.shape[axis]
        return kept
    rows = [tensor.shape[-1] for tensor in (*reads, written) if not tensor.constant and tensor.shape]
    return max(1, min(rows, default=1))


def _view(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    return "layout", {"elements": 1, "reads": 1}


def _other(o: TfliteOperator, reads: Sequence[TfliteTensor], written: TfliteTensor) -> tuple[str, Sizes]:
    sizes = {"elements": written.size, "reads": max(1, sum(tensor.size for tensor in reads))}
    if o.op != "TRANSPOSE_CONV":
        return "other", sizes
    out, height, width, _ = reads[1].shape  # weights (out, kernel, kernel, in); the image is the third tensor
    return "other", {**sizes, "macs": reads[2].size * out * height * width}


_FORMS = {
    **dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), CONVERTED),
    **dict.fromkeys(("CONCATENATION", "BROADCAST_TO"), JOINED),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V"), CUT),
    **{"AVERAGE_POOL_2D": AVERAGE, "PAD": PADDED, "RESIZE_BILINEAR": RESIZED},
}
_BY_OP: dict[str, Callable[[TfliteOperator, Sequence[TfliteTensor], TfliteTensor], tuple[str, Sizes]]] = {
    **dict.fromkeys((*_LIGHT, *_HEAVY), _elementwise),
    **dict.fromkeys(_COPIES, _copy),
    **dict.fromkeys(_VIEWS, _view),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), _pool),
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MEAN": _mean,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matmul,
    "SOFTMAX": _softmax,
}
