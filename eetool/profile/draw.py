"""Small random networks as ONNX graphs: what a device times to make its latency table.

Kernels are timed inside networks and not alone, because a kernel that is repeated finds its weights and its input in
a nearer cache than it would in a network. Each operator is named after the step it belongs to (`s12.conv`), so that
the times of a trace find their way back.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAX_MACS = 60e6  # of one network: a slow board still runs it in a second or so
_MAX_WEIGHTS = 1.5e6  # of one operator
_SIDES = (64, 56, 48, 40, 32, 28, 24, 16, 14, 12, 8, 7, 6, 4)


@dataclass
class Sketch:
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


def draw_channels(sketch: Sketch, low: float = 8, high: float = 512) -> int:
    """Channels: mostly multiples of 8, as networks have them, some of 4, a few odd."""
    value = math.exp(sketch.rng.uniform(math.log(low), math.log(high)))
    unit = sketch.pick([16, 8, 8, 8, 8, 4, 4, 2, 1])
    rounded: int = unit * max(1, round(value / unit))
    return rounded


def _widened(sketch: Sketch, low: float = 0.5, high: float = 2.5) -> int:
    """Output channels near the present ones, as far as the size of the weights and the MACs left allow."""
    around = max(sketch.channels, 8)
    room = (MAX_MACS - sketch.macs) / (9.0 * around * sketch.height * sketch.width)
    top = min(around * high, _MAX_WEIGHTS / (9 * around), max(room, 8.0), 640)
    return draw_channels(sketch, max(4, min(around * low, top)), max(8, top))


def _plain(s: Sketch) -> None:
    kernel = s.pick([3, 3, 3, 1, 1, 5, 7])
    stride = 2 if s.height >= 8 and s.chance(0.25) else 1
    act = s.pick(["Relu", "Relu", "Relu", "", "Clip", "HardSwish"])
    out = _widened(s)
    s.tensor = s.conv(s.tensor, out, kernel, stride, act=act)
    s.channels = out
    s.shrink(stride)


def _residual(s: Sketch) -> None:
    """Two or three convolutions and a shortcut."""
    for _ in range(s.pick([1, 1, 2])):
        out, stride = s.channels, 1
        if s.chance(0.35):
            out, stride = _widened(s), 2 if s.height >= 8 else 1
        before = s.tensor
        if s.chance(0.3):
            middle = max(4, out // 4)
            first = s.conv(before, middle, 1, act="Relu")
            second = s.conv(first, middle, 3, stride, act="Relu", of=middle)
            side = (s.height, s.width)
            s.shrink(stride)
            last = s.conv(second, out, 1, of=middle)
        else:
            first = s.conv(before, out, 3, stride, act="Relu")
            side = (s.height, s.width)
            s.shrink(stride)
            last = s.conv(first, out, 3, of=out)
        shortcut = before
        if stride != 1 or out != s.channels:
            shortcut = _shortcut(s, before, out, stride, side)
        name = s.step()
        s.tensor = s.activate(s.add("Add", [last, shortcut], f"{name}.add"), name, "Relu")
        s.channels = out


def _shortcut(s: Sketch, tensor: str, out: int, stride: int, side: tuple[int, int]) -> str:
    """A convolution, or where channels are only added every second pixel and zeros."""
    inside = (s.height, s.width)
    s.height, s.width = side
    if out > s.channels and s.chance(0.4):
        name, pads = s.step(), (out - s.channels) // 2
        bounds = [s.constant(f"{name}.{k}", np.array(v, np.int64)) for k, v in _slice(stride, side).items()]
        cut = s.add("Slice", [tensor, *bounds], f"{name}.slice")
        around = np.array([0, pads, 0, 0, 0, out - s.channels - pads, 0, 0], np.int64)
        made = s.add("Pad", [cut, s.constant(f"{name}.pads", around)], f"{s.step()}.pad")
    else:
        made = s.conv(tensor, out, 1, stride)
    s.height, s.width = inside
    return made


def _slice(stride: int, side: tuple[int, int]) -> dict[str, list[int]]:
    return {"starts": [0, 0], "ends": list(side), "axes": [2, 3], "steps": [stride, stride]}


def _inverted(s: Sketch) -> None:
    """Wide, depthwise, narrow (MobileNetV2, arXiv 1801.04381), sometimes with squeeze and excitation."""
    act = s.pick(["Clip", "Relu", "HardSwish"])
    for _ in range(s.pick([1, 2])):
        out = s.channels if s.chance(0.6) else min(320, _widened(s))
        stride = 2 if s.height >= 8 and s.chance(0.2) else 1
        wide = s.channels * s.pick([1, 2, 3, 4, 6])
        wide = max(8, min(wide, 960) // 8 * 8)
        before, tensor = s.tensor, s.tensor
        tensor = s.conv(tensor, wide, 1, act=act)
        tensor = s.conv(tensor, wide, s.pick([3, 3, 3, 5]), stride, wide, act, of=wide)
        s.shrink(stride)
        if s.chance(0.3):
            tensor = _excite(s, tensor, wide)
        tensor = s.conv(tensor, out, 1, of=wide)
        if out == s.channels and stride == 1:
            tensor = s.add("Add", [tensor, before], f"{s.step()}.add")
        s.tensor, s.channels = tensor, out


def _excite(s: Sketch, tensor: str, wide: int) -> str:
    inside, middle = (s.height, s.width), max(8, wide // 4 // 8 * 8)
    if s.chance(0.5):
        axes = s.constant(f"{s.step()}.axes", np.array([2, 3], np.int64))
        pooled = s.add("ReduceMean", [tensor, axes], axes.replace(".axes", ".mean"), keepdims=1)
    else:
        pooled = s.add("GlobalAveragePool", [tensor], f"{s.step()}.pool")
    s.height, s.width = 1, 1
    first = s.conv(pooled, middle, 1, act="Relu", of=wide)
    second = s.conv(first, wide, 1, act=s.pick(["HardSigmoid", "Sigmoid"]), of=middle)
    s.height, s.width = inside
    return s.add("Mul", [tensor, second], f"{s.step()}.mul")


def _dense(s: Sketch) -> None:
    """Batch normalisation, convolutions, and everything before kept (DenseNet, arXiv 1608.06993)."""
    growth = s.pick([8, 12, 12, 16, 24, 32])
    for _ in range(s.pick([2, 3, 4])):
        made = _normalised(s, s.tensor)
        if s.chance(0.5):
            made = s.conv(made, 4 * growth, 1, act="Relu")
            made = s.conv(made, growth, 3, of=4 * growth)
        else:
            made = s.conv(made, growth, 3)
        s.tensor = s.add("Concat", [s.tensor, made], f"{s.step()}.concat", axis=1)
        s.channels += growth
    if s.height >= 8 and s.chance(0.5):
        s.tensor = s.conv(_normalised(s, s.tensor), s.channels // 2, 1)
        s.channels //= 2
        shape = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": s.pick([0, 1])}
        s.tensor = s.add("AveragePool", [s.tensor], f"{s.step()}.pool", **shape)
        s.height, s.width = s.height // 2, s.width // 2


def _normalised(s: Sketch, tensor: str) -> str:
    name = s.step()
    draw = s.rng.uniform
    parts = [s.constant(f"{name}.{p}", draw(0.5, 1.5, s.channels).astype(np.float32)) for p in ("s", "b", "m", "v")]
    made = s.add("BatchNormalization", [tensor, *parts], f"{name}.norm")
    return s.add("Relu", [made], f"{s.step()}.act")


def _pooling(s: Sketch) -> None:
    if s.height < 8:
        _plain(s)
        return
    op, (kernel, stride) = s.pick(["MaxPool", "AveragePool"]), s.pick([(2, 2), (2, 2), (3, 2), (3, 1)])
    pads = [kernel // 2 if kernel == 3 else 0] * 4
    shape = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": pads}
    s.tensor = s.add(op, [s.tensor], f"{s.step()}.pool", **shape)
    if stride == 2:
        up = int(kernel == 3)  # padded, an odd side rounds up
        s.height, s.width = (s.height + up) // 2, (s.width + up) // 2


def _grouped(s: Sketch) -> None:
    groups = s.pick([2, 4, 8])
    width = max(1, s.channels // groups // s.pick([1, 1, 8])) * groups
    if width != s.channels:
        s.tensor, s.channels = s.conv(s.tensor, width, 1, act="Relu"), width
    s.tensor = s.conv(s.tensor, width, 3, 1, groups, act="Relu")


Block = Callable[[Sketch], None]
FAMILIES: dict[str, tuple[Block, ...]] = {
    "plain": (_plain, _plain, _plain, _pooling),
    "residual": (_residual, _residual, _residual, _plain),
    "inverted": (_inverted,),
    "dense": (_dense,),
    "mixed": (_plain, _residual, _inverted, _dense, _pooling, _grouped),
}


def draw_images(seed: int, family: str) -> Sketch:
    """A network for images that ends in an exit."""
    s = Sketch(np.random.default_rng((seed, sorted(FAMILIES).index(family))))
    s.height = s.width = s.pick(_SIDES[:8]) if s.chance(0.4) else 32
    s.channels = s.pick([3, 3, 3, 1])
    if s.chance(0.25):  # what a segment reads is what another one wrote
        s.channels, s.height = draw_channels(s, 8, 256), s.pick(_SIDES)
        s.width = s.height
    start = (s.channels, s.height, s.width)
    s.weights[_INPUT] = np.array((1, *start))
    if s.channels <= 3:
        out, (kernel, stride) = draw_channels(s, 8, 64), s.pick([(3, 1), (3, 1), (3, 1), (3, 2), (7, 2), (5, 1)])
        s.tensor = s.conv(s.tensor, out, kernel, stride, act=s.pick(["Relu", "Clip", ""]))
        s.channels = out
        s.shrink(stride)
    aim = MAX_MACS * 10 ** s.rng.uniform(-1.8, 0)
    for _ in range(24):
        if s.macs > aim:
            break
        s.pick(FAMILIES[family])(s)
    _head(s)
    return s


def _head(s: Sketch) -> None:
    """Pooling, sometimes a hidden layer, classes, and the confidence of an exit."""
    classes = s.pick([10, 10, 100, 1000, 3])
    if s.chance(0.5):
        axes = s.constant(f"{s.step()}.axes", np.array([2, 3], np.int64))
        row = s.add("ReduceMean", [s.tensor, axes], axes.replace(".axes", ".mean"), keepdims=0)
    else:
        pooled = s.add("GlobalAveragePool", [s.tensor], f"{s.step()}.pool")
        row = s.add("Flatten", [pooled], f"{s.step()}.flat")
    inner = s.channels
    if s.chance(0.4):
        hidden, name = draw_channels(s, 16, 1024), s.step()
        row = s.activate(s.linear(row, inner, hidden, name), name, "Relu")
        inner = hidden
    s.tensor = s.linear(row, inner, classes, s.step())
    if s.chance(0.5):
        s.tensor = s.add("Softmax", [s.tensor], f"{s.step()}.softmax", axis=-1)
        axes = s.constant(f"{s.step()}.axes", np.array([1], np.int64))
        s.tensor = s.add("ReduceMax", [s.tensor, axes], axes.replace(".axes", ".max"), keepdims=0)


_INPUT = ""  # the entry of a sketch's weights that holds the sizes of its input


def draw_tokens(seed: int) -> Sketch:
    """A transformer's blocks over a sequence, operator by operator as exporters write them."""
    s = Sketch(np.random.default_rng((seed, 99)))
    heads = s.pick([2, 3, 4, 6])
    width = heads * s.pick([16, 32, 32, 48, 64, 64])
    rows = s.pick([16, 17, 32, 49, 64, 65, 65, 96, 128, 197])
    s.weights[_INPUT] = np.array((1, rows, width))
    for _ in range(s.pick([1, 2, 3])):
        s.tensor = _attention(s, s.tensor, rows, width, heads)
        s.tensor = _feed_forward(s, s.tensor, rows, width, width * s.pick([1, 2, 4, 4]))
        if s.macs > 2 * MAX_MACS:
            break
    name = s.step()
    token = s.add("Gather", [s.tensor, s.constant(f"{name}.at", np.array(0))], f"{name}.gather", axis=1)
    s.tensor = s.linear(token, width, s.pick([2, 10, 100]), s.step())
    return s


def _rows_normalised(s: Sketch, tensor: str, width: int) -> str:
    name = s.step()
    parts = [s.constant(f"{name}.{part}", np.ones(width, np.float32)) for part in ("w", "b")]
    return s.add("LayerNormalization", [tensor, *parts], f"{name}.norm", axis=-1)


def _rows_linear(s: Sketch, tensor: str, rows: int, inner: int, out: int) -> str:
    name = s.step()
    s.macs += rows * inner * out
    made = s.add("MatMul", [tensor, s.weight(f"{name}.w", inner, out)], f"{name}.matmul")
    if s.chance(0.5):
        made = s.add("Add", [made, s.weight(f"{name}.b", out)], f"{s.step()}.bias")
    return made


def _attention(s: Sketch, tensor: str, rows: int, width: int, heads: int) -> str:
    size = width // heads
    inside = _rows_normalised(s, tensor, width)
    parts = []
    for part in range(3):
        made = _rows_linear(s, inside, rows, width, width)
        name = s.step()
        shape = s.constant(f"{name}.shape", np.array([0, rows, heads, size], np.int64))
        split = s.add("Reshape", [made, shape], f"{name}.view")
        perm = [0, 2, 3, 1] if part == 1 else [0, 2, 1, 3]  # (1, T, H, D) -> (1, H, D, T) or (1, H, T, D)
        parts.append(s.add("Transpose", [split], f"{s.step()}.transpose", perm=perm))
    s.macs += 2 * rows * rows * width
    scores = s.add("MatMul", parts[:2], f"{s.step()}.scores")
    scores = s.add("Softmax", [scores], f"{s.step()}.softmax", axis=-1)
    mixed = s.add("MatMul", [scores, parts[2]], f"{s.step()}.mixed")
    back = s.add("Transpose", [mixed], f"{s.step()}.transpose", perm=[0, 2, 1, 3])
    name = s.step()
    joined = s.add("Reshape", [back, s.constant(f"{name}.shape", np.array([0, rows, width], np.int64))], f"{name}.view")
    made = _rows_linear(s, joined, rows, width, width)
    return s.add("Add", [tensor, made], f"{s.step()}.add")


def _feed_forward(s: Sketch, tensor: str, rows: int, width: int, hidden: int) -> str:
    inside = _rows_linear(s, _rows_normalised(s, tensor, width), rows, width, hidden)
    scaled = s.add("Div", [inside, s.constant(f"{s.step()}.root", np.float32(math.sqrt(2)))], f"{s.step()}.div")
    erf = s.add("Erf", [scaled], f"{s.step()}.erf")
    more = s.add("Add", [erf, s.constant(f"{s.step()}.one", np.float32(1))], f"{s.step()}.plus")
    half = s.add("Mul", [more, s.constant(f"{s.step()}.half", np.float32(0.5))], f"{s.step()}.half")
    gelu = s.add("Mul", [inside, half], f"{s.step()}.gelu")
    return s.add("Add", [tensor, _rows_linear(s, gelu, rows, hidden, width)], f"{s.step()}.add")


def to_model(sketch: Sketch) -> Any:
    """The `onnx.ModelProto` of a sketch, for onnxruntime 1.14 and newer."""
    from onnx import TensorProto, helper, numpy_helper

    weights = dict(sketch.weights)
    # The batch is a symbol, as in what eetool exports: some fusions depend on it.
    shape: list[str | int | None] = ["batch", *(int(size) for size in weights.pop(_INPUT)[1:])]
    graph = helper.make_graph(
        sketch.nodes,
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(sketch.tensor, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="eetool")
