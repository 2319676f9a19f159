"""Builder of small ONNX graphs, operator by operator, for probe networks.

Each operator is named after its step (`s12.conv`), so that traced times can be matched to kernels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INPUT = ""  # key of the input sizes in the weights of a builder


@dataclass
class OnnxBuilder:
    """Graph under construction: nodes, weights, and name and sizes of the present output tensor."""

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
        """Return the name of the next step."""
        self.steps += 1
        return f"s{self.steps}"

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append an operator with one output, named as the operator; return the name."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def halves(self, tensor: str) -> tuple[str, str]:
        """Append a split of the channels; return the names of both halves."""
        from onnx import helper

        name = f"{self.step()}.split"
        halves = f"{name}.0", f"{name}.1"
        self.nodes.append(helper.make_node("Split", [tensor], halves, name=name, axis=1, num_outputs=2))
        return halves

    def weight(self, name: str, *shape: int) -> str:
        """Add a random weight, scaled to keep activations in range; return its name."""
        fan = math.prod(shape[1:]) or 1
        self.weights[name] = (self.rng.standard_normal(shape) / math.sqrt(fan)).astype(np.float32)
        return name

    def constant(self, name: str, value: Any) -> str:
        """Add a constant such as sizes or bounds; return its name."""
        self.weights[name] = np.asarray(value)
        return name

    def conv(
        self, tensor: str, out: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: str = "", of: int = 0
    ) -> str:
        """Append a convolution.

        Args:
            tensor: input.
            out: output channels.
            kernel: side of the window.
            stride: stride of both sides.
            groups: number of groups.
            act: operator of the activation; none if empty.
            of: input channels; those of the present tensor if 0.

        Returns:
            Name of the output.
        """
        name, channels = self.step(), of or self.channels
        w = self.weight(f"{name}.w", out, channels // groups, kernel, kernel)
        b = self.weight(f"{name}.b", out)
        pads, strides = [kernel // 2] * 4, [stride, stride]
        if kernel == stride:  # patches
            pads = [0] * 4
        shape = {"kernel_shape": [kernel, kernel], "strides": strides, "pads": pads, "group": groups}
        output = self.add("Conv", [tensor, w, b], f"{name}.conv", **shape)
        height, width = -(-self.height // stride), -(-self.width // stride)
        self.macs += out * height * width * channels // groups * kernel * kernel
        return self.activate(output, name, act)

    def activate(self, tensor: str, name: str, act: str) -> str:
        """Append an activation within the step `name`; return the output."""
        if not act:
            return tensor
        if act == "Clip":
            bounds = [self.constant(f"{name}.lo", np.float32(0)), self.constant(f"{name}.hi", np.float32(6))]
            return self.add("Clip", [tensor, *bounds], f"{name}.act")
        return self.add(act, [tensor], f"{name}.act")

    def shrink(self, stride: int) -> None:
        """Reduce height and width by a stride."""
        self.height, self.width = -(-self.height // stride), -(-self.width // stride)

    def linear(self, tensor: str, inner: int, out: int, name: str) -> str:
        """Append a Gemm of a row (1, inner); return the output."""
        self.macs += inner * out
        w, b = self.weight(f"{name}.w", out, inner), self.weight(f"{name}.b", out)
        return self.add("Gemm", [tensor, w, b], f"{name}.gemm", transB=1)

    def chance(self, share: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[Any]) -> Any:
        """Return one of the options at random."""
        return options[int(self.rng.integers(len(options)))]


def draw_channels(builder: OnnxBuilder, low: float = 8, high: float = 512) -> int:
    """Draw a number of channels: mostly multiples of 8, as in real networks, some of 4, a few odd."""
    value = math.exp(builder.rng.uniform(math.log(low), math.log(high)))
    unit = builder.pick([16, 8, 8, 8, 8, 4, 4, 2, 1])
    rounded: int = unit * max(1, round(value / unit))
    return rounded


def to_model(builder: OnnxBuilder) -> Any:
    """Return the `onnx.ModelProto` of a builder, for onnxruntime 1.14 and newer."""
    from onnx import TensorProto, helper, numpy_helper

    weights = dict(builder.weights)
    # The batch is symbolic, as in exported graphs, because some fusions depend on it.
    shape: list[str | int | None] = ["batch", *(int(size) for size in weights.pop(INPUT)[1:])]
    graph = helper.make_graph(
        builder.nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(builder.tensor, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="eetool")
