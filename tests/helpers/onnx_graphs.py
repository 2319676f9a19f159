"""Small ONNX graphs as text, and their optimisation by the installed ONNX Runtime."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

CONV = "<kernel_shape=[3,3], pads=[1,1,1,1]>"
NETWORK = f"""<ir_version: 8, opset_import: ["" : 18]>
net (float[batch,3,16,16] x) => (float[batch,10] y) {{
    c1 = Conv {CONV} (x, w1)
    n1 = BatchNormalization (c1, s, b, m, v)
    r1 = Relu (n1)
    c2 = Conv {CONV} (r1, w2)
    r2 = Relu (c2)
    c3 = Conv {CONV} (r2, w2)
    a3 = Add (c3, r1)
    r3 = Relu (a3)
    d4 = Conv <kernel_shape=[3,3], pads=[1,1,1,1], group=16> (r3, wd)
    k4 = Clip (d4, low, high)
    p4 = MaxPool <kernel_shape=[2,2], strides=[2,2]> (k4)
    c5 = Conv <kernel_shape=[1,1]> (p4, w5)
    j5 = Concat <axis=1> (p4, c5)
    n5 = BatchNormalization (j5, s5, b5, m5, v5)
    r5 = Relu (n5)
    c6 = Conv {CONV} (r5, w6)
    g6 = ReduceMean <keepdims=0> (c6, axes)
    y = Gemm <transB=1> (g6, wy)
}}"""
_SHAPES = {
    "w1": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "wd": (16, 1, 3, 3), "w5": (12, 16, 1, 1), "w6": (8, 28, 3, 3),
    "wy": (10, 8), **dict.fromkeys("sbmv", (16,)), **dict.fromkeys(("s5", "b5", "m5", "v5"), (28,)),
}  # fmt: skip


def model(text: str = NETWORK, shapes: dict[str, tuple[int, ...]] = _SHAPES, **values: Any) -> onnx.ModelProto:
    """Return the model of `text` with ones of these shapes as weights, and other constants by value."""
    proto = onnx.parser.parse_model(text)
    given = {"low": np.float32(0), "high": np.float32(6), "axes": np.array([2, 3]), **values}
    used = {name for node in proto.graph.node for name in node.input}
    arrays = {**{name: np.ones(shape, np.float32) for name, shape in shapes.items()}, **given}
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items() if name in used
    )
    for node in proto.graph.node:
        node.name = node.output[0]
    return proto


def save(proto: onnx.ModelProto, path: Path) -> Path:
    onnx.save(proto, str(path))
    return path


def optimised(path: Path, folder: Path) -> onnx.ModelProto:
    """Return the graph that onnxruntime runs for a file on this machine."""
    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(str(folder / "optimised.onnx"))


def counted(proto: onnx.ModelProto) -> Counter[str]:
    """Return the number of each operator; convolutions are labelled with the operators fused into them."""

    def named(node: Any) -> str:
        if node.op_type not in ("Conv", "FusedConv"):
            return str(node.op_type)
        activation = any(a.name == "activation" and helper.get_attribute_value(a) for a in node.attribute)
        return "Conv" + ":act" * activation + ":add" * (len(node.input) > 3)

    return Counter(named(node) for node in proto.graph.node)


def channel_block(folder: Path) -> int:
    """Return the channels per block on this machine, from the padding of a single output channel; 1 without blocks."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> one (float[1,16,8,8] x) => (float[1,1,8,8] y) '
        f"{{ y = Conv {CONV} (x, w) }}"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((1, 16, 3, 3), np.float32), "w"))
    actual = optimised(save(proto, folder / "one.onnx"), folder)
    weights = {tensor.name: tensor.dims[0] for tensor in actual.graph.initializer}
    conv = next(node for node in actual.graph.node if "Conv" in node.op_type)
    return int(weights[conv.input[1]])
