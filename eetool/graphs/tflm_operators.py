"""Operators that TensorFlow Lite for Microcontrollers (TFLM) has, by their names in TFLite.

Source: the kernels of github.com/tensorflow/tflite-micro and their types, as of its release of October 2026.
"""

from eetool.graphs.tflite_graph import TfliteGraph, TfliteOperator

INT8_OPERATORS = frozenset(
    [
        "ADD",
        "AVERAGE_POOL_2D",
        "BATCH_MATMUL",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "GATHER",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PADV2",
        "PRELU",
        "RELU",
        "RELU6",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUARED_DIFFERENCE",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
        "UNPACK",
    ]
)
"""Operators with a kernel for int8."""

_FLOAT_ONLY = frozenset(
    ["ABS", "COS", "DIV", "ELU", "EXP", "FLOOR", "LOG", "NEG", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "REDUCE_MAX"]
)
_ANY_TYPE = frozenset(
    ["BROADCAST_TO", "CAST", "DEPTH_TO_SPACE", "DEQUANTIZE", "EXPAND_DIMS", "FILL", "QUANTIZE", "SHAPE"]
)
OPERATORS = INT8_OPERATORS | _FLOAT_ONLY | _ANY_TYPE

_ALTERNATIVES = {
    "GELU": "ReLU6 or Hardswish",
    "ERF": "ReLU6 or Hardswish",
    "RELU_N1_TO_1": "ReLU6",
    "STABLEHLO_COMPOSITE": "ReLU6 or Hardswish for GELU",
    "POW": "a product",
    "GATHER_ND": "slices",
    "SELECT_V2": "a product with a mask",
    "SELECT": "a product with a mask",
    "CONV_3D": "Conv2d",
    "REVERSE_V2": "slices",
}


def lacking_operator(graph: TfliteGraph) -> str | None:
    """Return the first operator of a graph that TFLM lacks, with what may replace it; None where there is none."""
    lacking = next((o.op for o in graph.operations if o.op not in OPERATORS), None)
    if lacking is None:
        return None
    instead = _ALTERNATIVES.get(lacking)
    return f"TFLM has no operator {lacking}" + (f"; use {instead} there" if instead else "")


def float_operators(graph: TfliteGraph) -> tuple[str, ...]:
    """Return the names of the operators that compute in float32, each once, in running order."""
    return tuple(dict.fromkeys(o.op for o in graph.operations if o.op not in _CONVERSIONS and _is_float(graph, o)))


_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def _is_float(graph: TfliteGraph, operator: TfliteOperator) -> bool:
    return any(graph.tensors[index].kind == "FLOAT32" for index in (*operator.reads, *operator.writes) if index >= 0)
