"""Conversion of probe networks to the TFLite files that the exporter's converter would write.

The converter takes seconds per graph, too long for hundreds of probes. This module imitates litert-torch 0.10:
channels last, transpositions at inputs, outputs and means, padding before strides, batch normalisation as a product
and a sum, layer normalisation and attention in small steps.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder
from eetool.latency.probes.tflite_builder import TfliteBuilder

_SAME, _VALID = 0, 1
_FUSED = {"Relu": "RELU", "Clip": "RELU6", "HardSigmoid": "RELU6"}
_UNFUSED = {
    "Tanh": "TANH",
    "Relu": "RELU",
    "Clip": "RELU6",
    "HardSwish": "HARD_SWISH",
    "Sigmoid": "LOGISTIC",
    "HardSigmoid": "RELU6",
}
_PARTS_OF_GELU = (".div", ".erf", ".plus", ".half")
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def convert_to_tflite(builder: OnnxBuilder) -> bytes:
    """Return the TFLite file of a builder; the input is called `x`, as in `to_model`."""
    return _Converter(builder).pack()


class _Converter:
    """Conversion of one builder: one method per ONNX operator, `node` with its attributes `a`."""

    def __init__(self, builder: OnnxBuilder) -> None:
        self._file, self._builder = TfliteBuilder(), builder
        self._input = self._file.tensor([int(size) for size in builder.weights[INPUT]])
        self._channels_first = {"x": self._input}  # tensors in the layout of ONNX
        self._channels_last: dict[str, int] = {}  # images with channels last

    def pack(self) -> bytes:
        for node in self._builder.nodes:
            _BY_OP[node.op_type](self, node, {a.name: _value(a) for a in node.attribute})
        return self._file.pack("x", self._input, self._as_channels_first(self._builder.tensor))

    def _weight(self, name: str) -> np.ndarray:
        return self._builder.weights[name]

    def _is_image(self, name: str) -> bool:
        return name in self._channels_last or (len(self._shape(name)) == 4 and len(self._file.shapes[self._input]) == 4)

    def _shape(self, name: str) -> tuple[int, ...]:
        """Return the sizes with channels first."""
        if name in self._channels_first:
            return self._file.shapes[self._channels_first[name]]
        n, h, w, c = self._file.shapes[self._channels_last[name]]
        return n, c, h, w

    def _as_channels_first(self, name: str) -> int:
        if name not in self._channels_first:
            self._channels_first[name] = self._transpose(self._channels_last[name], _TO_FIRST)
        return self._channels_first[name]

    def _as_channels_last(self, name: str) -> int:
        if name not in self._channels_last:
            self._channels_last[name] = self._transpose(self._channels_first[name], _TO_LAST)
        return self._channels_last[name]

    def _transpose(self, tensor: int, perm: tuple[int, ...]) -> int:
        shape = self._file.shapes[tensor]
        turned = [shape[axis] for axis in perm]
        moving = [axis for axis in perm if shape[axis] > 1]
        if moving == sorted(moving):
            return self._reshape(tensor, turned)
        return self._file.add("TRANSPOSE", [tensor, self._file.constant(np.array(perm))], turned, "TransposeOptions")

    def _reshape(self, tensor: int, shape: Any) -> int:
        sizes = [int(size) for size in shape]
        options = {"newShape": np.array(sizes, np.int32)}
        return self._file.add(
            "RESHAPE", [tensor, self._file.constant(np.array(sizes))], sizes, "ReshapeOptions", **options
        )

    def _pad(self, tensor: int, pads: Any, op: str = "PAD") -> int:
        shape = [size + sum(pad) for size, pad in zip(self._file.shapes[tensor], pads, strict=True)]
        reads = [tensor, self._file.constant(np.array(pads))]
        if op == "PADV2":
            return self._file.add(op, [*reads, self._file.constant(np.array(-3e38, np.float32))], shape, "PadV2Options")
        return self._file.add(op, reads, shape, "PadOptions")

    def conv(self, node: Any, a: dict[str, Any]) -> None:
        tensor, weights = self._as_channels_last(node.input[0]), self._weight(node.input[1])  # (out, in / groups, k, k)
        bias = self._file.constant(self._weight(node.input[2]))
        kernel, stride, pad, channels = weights.shape[2], a["strides"][0], a["pads"][0], self._shape(node.input[0])[1]
        if stride > 1 and pad:
            tensor = self._pad(tensor, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
            pad = 0
        _, height, width, _ = self._file.shapes[tensor]
        sides = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
        shape = [1, *sides, weights.shape[0]]
        common = {"padding": _SAME if pad else _VALID, "strideH": stride, "strideW": stride}
        common.update(dilationHFactor=1, dilationWFactor=1)
        if weights.shape[1] == 1 and a["group"] == channels:  # (out, 1, k, k) -> (1, k, k, out)
            moved = self._file.constant(weights.transpose(1, 2, 3, 0))
            reads, multiplier = [tensor, moved, bias], weights.shape[0] // channels
            common["depthMultiplier"] = multiplier
            output = self._file.add("DEPTHWISE_CONV_2D", reads, shape, "DepthwiseConv2DOptions", **common)
        else:
            moved = self._file.constant(weights.transpose(0, 2, 3, 1))
            output = self._file.add("CONV_2D", [tensor, moved, bias], shape, "Conv2DOptions", **common)
        self._channels_last[node.output[0]] = output

    def activation(self, node: Any, a: dict[str, Any]) -> None:
        places = self._channels_last if self._is_image(node.input[0]) else self._channels_first
        tensor = places[node.input[0]]
        fused = node.op_type in _FUSED and self._file.fuse(tensor, _FUSED[node.op_type])
        output = tensor if fused else self._file.add(_UNFUSED[node.op_type], [tensor], self._file.shapes[tensor])
        if node.op_type == "HardSigmoid":
            output = self._add_binary("MUL", output, self._file.constant(np.array(1 / 6, np.float32)))
        places[node.output[0]] = output

    def _add_binary(self, op: str, left: int, right: int) -> int:
        shape = np.broadcast_shapes(self._file.shapes[left], self._file.shapes[right])
        return self._file.add(
            op, [left, right], shape, {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}[op]
        )

    def arithmetic(self, node: Any, a: dict[str, Any]) -> None:
        name, output = node.input[0], node.output[0]
        if output.endswith(_PARTS_OF_GELU):
            return
        if output.endswith(".gelu"):
            self._channels_first[output] = self._file.add(
                "GELU", [self._channels_first[name]], self._shape(name), "GeluOptions"
            )
        elif output.endswith(".bias"):
            self._channels_first[output] = self._channels_first[name]  # the fully connected layer includes it
        else:
            place = self._channels_last if self._is_image(name) else self._channels_first
            side = self._as_channels_last if self._is_image(name) else self._as_channels_first
            place[output] = self._add_binary(node.op_type.upper(), *(side(read) for read in node.input))

    def concat(self, node: Any, a: dict[str, Any]) -> None:
        parts = [self._as_channels_last(name) for name in node.input]
        shape = [*self._file.shapes[parts[0]][:3], sum(self._file.shapes[part][3] for part in parts)]
        self._channels_last[node.output[0]] = self._file.add(
            "CONCATENATION", parts, shape, "ConcatenationOptions", axis=3
        )

    def pool(self, node: Any, a: dict[str, Any]) -> None:
        tensor, highest = self._as_channels_last(node.input[0]), node.op_type == "MaxPool"
        kernel, stride, pad = a["kernel_shape"][0], a["strides"][0], a.get("pads", [0])[0]
        padding = _SAME if a.get("ceil_mode", 0) else _VALID
        if pad and stride == 1:
            padding = _SAME
        elif pad:
            sides = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
            tensor = self._pad(tensor, sides, "PADV2" if highest else "PAD")
        _, height, width, channels = self._file.shapes[tensor]
        out = [-(-s // stride) if padding == _SAME else (s - kernel) // stride + 1 for s in (height, width)]
        options = {"padding": padding, "strideH": stride, "strideW": stride}
        options.update(filterHeight=kernel, filterWidth=kernel)
        op = "MAX_POOL_2D" if highest else "AVERAGE_POOL_2D"
        self._channels_last[node.output[0]] = self._file.add(
            op, [tensor], [1, *out, channels], "Pool2DOptions", **options
        )

    def global_pool(self, node: Any, a: dict[str, Any]) -> None:
        tensor, axes = self._as_channels_last(node.input[0]), self._file.constant(np.array([1, 2]))
        shape = [1, 1, 1, self._file.shapes[tensor][3]]
        self._channels_last[node.output[0]] = self._file.add(
            "MEAN", [tensor, axes], shape, "ReducerOptions", keepDims=True
        )

    def mean(self, node: Any, a: dict[str, Any]) -> None:
        if a["keepdims"]:
            self.global_pool(node, a)
            return
        tensor, axes = self._as_channels_first(node.input[0]), self._file.constant(np.array([2, 3]))
        shape = self._file.shapes[tensor][:2]
        self._channels_first[node.output[0]] = self._file.add("MEAN", [tensor, axes], shape, "ReducerOptions")

    def flatten(self, node: Any, a: dict[str, Any]) -> None:
        channels = self._shape(node.input[0])[1]
        self._channels_first[node.output[0]] = self._reshape(self._as_channels_last(node.input[0]), (1, channels))

    def gemm(self, node: Any, a: dict[str, Any]) -> None:
        self._channels_first[node.output[0]] = self._add_fully_connected(
            node, self._weight(node.input[1]), self._weight(node.input[2])
        )

    def _add_fully_connected(self, node: Any, weights: np.ndarray, bias: np.ndarray) -> int:
        tensor = self._as_channels_first(node.input[0])
        reads = [tensor, self._file.constant(weights), self._file.constant(bias)]
        shape = [*self._file.shapes[tensor][:-1], weights.shape[0]]
        return self._file.add("FULLY_CONNECTED", reads, shape, "FullyConnectedOptions", keepNumDims=True)

    def matmul(self, node: Any, a: dict[str, Any]) -> None:
        if node.input[1] in self._builder.weights:
            weights = self._weight(node.input[1]).T
            output = self._add_fully_connected(node, weights, self._bias_after(node.output[0], len(weights)))
        else:
            (left, right), shape = (self._as_channels_first(name) for name in node.input), self._shape(node.input[0])
            columns = self._file.shapes[right][-1]
            sides = [self._reshape(side, self._file.shapes[side][1:]) for side in (left, right)]
            product = self._file.add("BATCH_MATMUL", sides, [*shape[1:-1], columns], "BatchMatMulOptions")
            output = self._reshape(product, [*shape[:-1], columns])
        self._channels_first[node.output[0]] = output

    def _bias_after(self, product: str, features: int) -> np.ndarray:
        sums = [node for node in self._builder.nodes if node.input[0] == product and node.output[0].endswith(".bias")]
        return self._weight(sums[0].input[1]) if sums else np.zeros(features, np.float32)

    def softmax(self, node: Any, a: dict[str, Any]) -> None:
        tensor = self._as_channels_first(node.input[0])
        self._channels_first[node.output[0]] = self._file.add(
            "SOFTMAX", [tensor], self._file.shapes[tensor], "SoftmaxOptions", beta=1.0
        )

    def highest(self, node: Any, a: dict[str, Any]) -> None:
        tensor, axes = self._as_channels_first(node.input[0]), self._file.constant(np.array([1]))
        self._channels_first[node.output[0]] = self._file.add("REDUCE_MAX", [tensor, axes], [1], "ReducerOptions")

    def halves(self, node: Any, a: dict[str, Any]) -> None:
        tensor = self._as_channels_last(node.input[0])
        shape = list(self._file.shapes[tensor])
        shape[3] //= 2
        for first, name in zip((0, shape[3]), node.output, strict=True):
            bounds = [self._file.constant(np.array(part)) for part in ([0, 0, 0, first], shape)]
            self._channels_last[name] = self._file.add("SLICE", [tensor, *bounds], shape, "SliceOptions")

    def resize(self, node: Any, a: dict[str, Any]) -> None:
        tensor, scales = self._as_channels_last(node.input[0]), self._weight(node.input[2])
        n, height, width, channels = self._file.shapes[tensor]
        sides = [int(height * scales[2]), int(width * scales[3])]
        op, options = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"
        if a["mode"] == b"linear":
            op, options = "RESIZE_BILINEAR", "ResizeBilinearOptions"
        half = {"halfPixelCenters": a["coordinate_transformation_mode"] == b"half_pixel"}
        reads, shape = [tensor, self._file.constant(np.array(sides))], [n, *sides, channels]
        self._channels_last[node.output[0]] = self._file.add(op, reads, shape, options, **half)

    def slice(self, node: Any, a: dict[str, Any]) -> None:
        tensor, stride = self._as_channels_last(node.input[0]), int(self._weight(node.input[4])[0])
        for axis in (1, 2):  # the converter slices one axis after the other
            shape = list(self._file.shapes[tensor])
            steps = [stride if at == axis else 1 for at in range(4)]
            bounds = [self._file.constant(np.array(part)) for part in ([0] * 4, shape, steps)]
            shape[axis] = -(-shape[axis] // stride)
            tensor = self._file.add("STRIDED_SLICE", [tensor, *bounds], shape, "StridedSliceOptions")
        self._channels_last[node.output[0]] = tensor

    def pad(self, node: Any, a: dict[str, Any]) -> None:
        around = self._weight(node.input[1])  # begin and end of N, C, H, W
        pads = [[int(around[axis]), int(around[axis + 4])] for axis in (0, 2, 3, 1)]
        self._channels_last[node.output[0]] = self._pad(self._as_channels_last(node.input[0]), pads)

    def batch_norm(self, node: Any, a: dict[str, Any]) -> None:
        scale, bias, mean, variance = (self._weight(name) for name in node.input[1:])
        factor = scale / np.sqrt(variance + 1e-5)
        scaled = self._add_binary("MUL", self._as_channels_last(node.input[0]), self._file.constant(factor))
        self._channels_last[node.output[0]] = self._add_binary("ADD", scaled, self._file.constant(bias - mean * factor))

    def layer_norm(self, node: Any, a: dict[str, Any]) -> None:
        tensor, file = self._as_channels_first(node.input[0]), self._file
        shape = file.shapes[tensor]  # (1, T, D)
        rows, axes, wide = [shape[1]], file.constant(np.array([0, 2])), [1, shape[1], 1]
        mean = file.add("MEAN", [tensor, axes], rows, "ReducerOptions")
        apart = [tensor, self._reshape(mean, wide)]
        squares = file.add("SQUARED_DIFFERENCE", apart, shape, "SquaredDifferenceOptions")
        variance = file.add("MEAN", [squares, axes], rows, "ReducerOptions")
        above = self._add_binary("ADD", variance, file.constant(np.array(1e-5, np.float32)))
        root = file.add("RSQRT", [above], rows)
        shift = self._add_binary("SUB", file.constant(np.array(0, np.float32)), self._add_binary("MUL", mean, root))
        scaled = self._add_binary("MUL", tensor, self._reshape(root, wide))
        centred = self._add_binary("ADD", scaled, self._reshape(shift, wide))
        weights, bias = (file.constant(self._weight(name)) for name in node.input[1:])
        self._channels_first[node.output[0]] = self._add_binary("ADD", self._add_binary("MUL", centred, weights), bias)

    def reshape(self, node: Any, a: dict[str, Any]) -> None:
        tensor, sizes = self._as_channels_first(node.input[0]), self._weight(node.input[1])
        kept = self._file.shapes[tensor]
        shape = [int(size) or kept[axis] for axis, size in enumerate(sizes)]
        self._channels_first[node.output[0]] = self._reshape(tensor, shape)

    def transpose(self, node: Any, a: dict[str, Any]) -> None:
        self._channels_first[node.output[0]] = self._transpose(self._as_channels_first(node.input[0]), tuple(a["perm"]))

    def gather(self, node: Any, a: dict[str, Any]) -> None:
        tensor = self._as_channels_first(node.input[0])
        width = self._file.shapes[tensor][2]
        bounds = [self._file.constant(np.array(part)) for part in ([0, 0, 0], [1, 1, width])]
        cut = self._file.add("SLICE", [tensor, *bounds], [1, 1, width], "SliceOptions")
        self._channels_first[node.output[0]] = self._reshape(cut, [1, width])


def _value(attribute: Any) -> Any:
    from onnx import helper

    return helper.get_attribute_value(attribute)


_BY_OP: dict[str, Callable[[_Converter, Any, dict[str, Any]], None]] = {
    **dict.fromkeys(_UNFUSED, _Converter.activation),
    **dict.fromkeys(("Add", "Mul", "Div", "Erf"), _Converter.arithmetic),
    **dict.fromkeys(("MaxPool", "AveragePool"), _Converter.pool),
    "Conv": _Converter.conv,
    "Concat": _Converter.concat,
    "GlobalAveragePool": _Converter.global_pool,
    "ReduceMean": _Converter.mean,
    "Flatten": _Converter.flatten,
    "Gemm": _Converter.gemm,
    "MatMul": _Converter.matmul,
    "Softmax": _Converter.softmax,
    "ReduceMax": _Converter.highest,
    "Slice": _Converter.slice,
    "Split": _Converter.halves,
    "Resize": _Converter.resize,
    "Pad": _Converter.pad,
    "BatchNormalization": _Converter.batch_norm,
    "LayerNormalization": _Converter.layer_norm,
    "Reshape": _Converter.reshape,
    "Transpose": _Converter.transpose,
    "Gather": _Converter.gather,
}
