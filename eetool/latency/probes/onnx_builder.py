"""A small ONNX graph that grows operator by operator: what probe networks are drawn with.

Each operator is named after the step it belongs to (`s12.conv`), so that the times of a trace find their way back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INPUT = ""  # the entry of a sketch's weights that holds the sizes of its input


@dataclass
class OnnxBuilder:
    """A graph that grows: nodes, weights, and the sizes of the tensor that the next block reads."""

    rng: np.random.Generator
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    macs: float = 0.0
    steps: int = 0
    tensor: str = "x"
    channels: int = 3
    height: int = 32
    width: int = 32

    def step(self) -> str:
        """A name for the next step."""
        self.steps += 1
        return f"s{self.steps}"

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append an operator with one output, which has its name; returns that."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def halves(self, tensor: str) -> tuple[str, str]:
        """The first and the second half of the channels."""
        from onnx import helper

        name = f"{self.step()}.split"
        made = f"{name}.0", f"{name}.1"
        self.nodes.append(helper.make_node("Split", [tensor], made, name=name, axis=1, num_outputs=2))
        return made

    def weight(self, name: str, *shape: int) -> str:
        """A random weight, scaled so that numbers neither vanish nor explode."""
        fan = math.prod(shape[1:]) or 1
        self.weights[name] = (self.rng.standard_normal(shape) / math.sqrt(fan)).astype(np.float32)
        return name

    def constant(self, name: str, value: Any) -> str:
        """A constant such as sizes or bounds."""
        self.weights[name] = np.asarray(value)
        return name

    def conv(
        self, tensor: str, out: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: str = "", of: int = 0
    ) -> str:
        """Convolution, with an activation by name; `of` are its input channels (those of the sketch where 0)."""
        name, channels = self.step(), of or self.channels
        w = self.weight(f"{name}.w", out, channels // groups, kernel, kernel)
        b = self.weight(f"{name}.b", out)
        pads, strides = [kernel // 2] * 4, [stride, stride]
        if kernel == stride:  # patches
            pads = [0] * 4
        shape = {"kernel_shape": [kernel, kernel], "strides": strides, "pads": pads, "group": groups}
        made = self.add("Conv", [tensor, w, b], f"{name}.conv", **shape)
        height, width = -(-self.height // stride), -(-self.width // stride)
        self.macs += out * height * width * channels // groups * kernel * kernel
        return self.activate(made, name, act)

    def activate(self, tensor: str, name: str, act: str) -> str:
        """An activation as a part of the step `name`."""
        if not act:
            return tensor
        if act == "Clip":
            bounds = [self.constant(f"{name}.lo", np.float32(0)), self.constant(f"{name}.hi", np.float32(6))]
            return self.add("Clip", [tensor, *bounds], f"{name}.act")
        return self.add(act, [tensor], f"{name}.act")

    def shrink(self, stride: int) -> None:
        """Follow a stride."""
        self.height, self.width = -(-self.height // stride), -(-self.width // stride)

    def linear(self, tensor: str, inner: int, out: int, name: str) -> str:
        """Gemm of a row (1, inner)."""
        self.macs += inner * out
        w, b = self.weight(f"{name}.w", out, inner), self.weight(f"{name}.b", out)
        return self.add("Gemm", [tensor, w, b], f"{name}.gemm", transB=1)

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[Any]) -> Any:
        """One of them."""
        return options[int(self.rng.integers(len(options)))]


def draw_channels(sketch: OnnxBuilder, low: float = 8, high: float = 512) -> int:
    """Channels: mostly multiples of 8, as networks have them, some of 4, a few odd."""
    value = math.exp(sketch.rng.uniform(math.log(low), math.log(high)))
    unit = sketch.pick([16, 8, 8, 8, 8, 4, 4, 2, 1])
    rounded: int = unit * max(1, round(value / unit))
    return rounded


def to_model(sketch: OnnxBuilder) -> Any:
    """The `onnx.ModelProto` of a sketch, for onnxruntime 1.14 and newer."""
    from onnx import TensorProto, helper, numpy_helper

    weights = dict(sketch.weights)
    # The batch is a symbol, as in what eetool exports: some fusions depend on it.
    shape: list[str | int | None] = ["batch", *(int(size) for size in weights.pop(INPUT)[1:])]
    graph = helper.make_graph(
        sketch.nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(sketch.tensor, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="eetool")
