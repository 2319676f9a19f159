"""Small random image networks that a device times for its latency table.

Kernels are timed inside networks. A kernel that is repeated alone has its weights and input in a nearer cache.
"""

from collections.abc import Callable

import numpy as np

from eetool.latency.probes.mobile_blocks import (
    add_branched_block,
    add_gated_block,
    add_grouped_block,
    add_separable_block,
)
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder, draw_channels

MAX_MACS = 60e6  # of one network: about a second on a slow board
_MAX_WEIGHTS, _MAX_WIDE_WEIGHTS = 1.5e6, 2.7e6  # of one operator: in general, and in the wide family
_SIDES = (64, 56, 48, 40, 32, 28, 24, 16, 14, 12, 8, 7, 6, 4)


def _draw_width(builder: OnnxBuilder, low: float = 0.5, high: float = 2.5) -> int:
    """Draw output channels near the present ones, within the limits of weights and MACs."""
    around = max(builder.channels, 8)
    room = (MAX_MACS - builder.macs) / (9.0 * around * builder.height * builder.width)
    top = min(around * high, _MAX_WEIGHTS / (9 * around), max(room, 8.0), 640)
    return draw_channels(builder, max(4, min(around * low, top)), max(8, top))


def _add_plain(s: OnnxBuilder) -> None:
    kernel = s.pick([3, 3, 3, 1, 1, 5, 7])
    stride = 2 if s.height >= 8 and s.chance(0.25) else 1
    act = s.pick(["Relu", "Relu", "Relu", "", "Clip", "HardSwish"])
    out = _draw_width(s)
    s.tensor = s.conv(s.tensor, out, kernel, stride, act=act)
    s.channels = out
    s.shrink(stride)


def _add_residual(s: OnnxBuilder) -> None:
    """Add blocks of two or three convolutions and a shortcut."""
    for _ in range(s.pick([1, 1, 2])):
        out, stride = s.channels, 1
        if s.chance(0.35):
            out, stride = _draw_width(s), 2 if s.height >= 8 else 1
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
            shortcut = _add_shortcut(s, before, out, stride, side)
        name = s.step()
        s.tensor = s.activate(s.add("Add", [last, shortcut], f"{name}.add"), name, "Relu")
        s.channels = out


def _add_shortcut(s: OnnxBuilder, tensor: str, out: int, stride: int, side: tuple[int, int]) -> str:
    """Add a convolution; or, where channels increase, sometimes strided slicing and zero padding."""
    inside = (s.height, s.width)
    s.height, s.width = side
    if out > s.channels and s.chance(0.4):
        name, pads = s.step(), (out - s.channels) // 2
        bounds = [s.constant(f"{name}.{k}", np.array(v, np.int64)) for k, v in _slice(stride, side).items()]
        cut = s.add("Slice", [tensor, *bounds], f"{name}.slice")
        around = np.array([0, pads, 0, 0, 0, out - s.channels - pads, 0, 0], np.int64)
        output = s.add("Pad", [cut, s.constant(f"{name}.pads", around)], f"{s.step()}.pad")
    else:
        output = s.conv(tensor, out, 1, stride)
    s.height, s.width = inside
    return output


def _slice(stride: int, side: tuple[int, int]) -> dict[str, list[int]]:
    return {"starts": [0, 0], "ends": list(side), "axes": [2, 3], "steps": [stride, stride]}


def _add_inverted(s: OnnxBuilder) -> None:
    """Add inverted residuals (MobileNetV2, arXiv 1801.04381), sometimes with squeeze and excitation."""
    act = s.pick(["Clip", "Relu", "HardSwish"])
    for _ in range(s.pick([1, 2])):
        out = s.channels if s.chance(0.6) else min(320, _draw_width(s))
        stride = 2 if s.height >= 8 and s.chance(0.2) else 1
        wide = s.channels * s.pick([1, 2, 3, 4, 6])
        wide = max(8, min(wide, 960) // 8 * 8)
        if s.chance(0.12):  # channels that do not fill vectors are slow in every runtime
            wide = max(4, min(wide, 256) - s.pick([1, 2, 3, 4]))
        before, tensor = s.tensor, s.tensor
        tensor = s.conv(tensor, wide, 1, act=act)
        tensor = s.conv(tensor, wide, s.pick([3, 3, 3, 5]), stride, wide, act, of=wide)
        s.shrink(stride)
        if s.chance(0.3):
            tensor = add_squeeze_excitation(s, tensor, wide)
        tensor = s.conv(tensor, out, 1, of=wide)
        if out == s.channels and stride == 1:
            tensor = s.add("Add", [tensor, before], f"{s.step()}.add")
        s.tensor, s.channels = tensor, out


def add_squeeze_excitation(s: OnnxBuilder, tensor: str, wide: int) -> str:
    """Add squeeze and excitation (arXiv 1709.01507) of a tensor of `wide` channels; return the output."""
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


def _add_dense(s: OnnxBuilder) -> None:
    """Add a dense block: batch normalisation, convolutions and concatenation (DenseNet, arXiv 1608.06993)."""
    growth = s.pick([8, 12, 12, 16, 24, 32])
    for _ in range(s.pick([2, 3, 4])):
        output = _add_normalisation(s, s.tensor)
        if s.chance(0.5):
            output = s.conv(output, 4 * growth, 1, act="Relu")
            output = s.conv(output, growth, 3, of=4 * growth)
        else:
            output = s.conv(output, growth, 3)
        s.tensor = s.add("Concat", [s.tensor, output], f"{s.step()}.concat", axis=1)
        s.channels += growth
    if s.height >= 8 and s.chance(0.5):
        s.tensor = s.conv(_add_normalisation(s, s.tensor), s.channels // 2, 1)
        s.channels //= 2
        shape = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": s.pick([0, 1])}
        s.tensor = s.add("AveragePool", [s.tensor], f"{s.step()}.pool", **shape)
        s.height, s.width = s.height // 2, s.width // 2


def _add_normalisation(s: OnnxBuilder, tensor: str) -> str:
    name = s.step()
    draw = s.rng.uniform
    parts = [s.constant(f"{name}.{p}", draw(0.5, 1.5, s.channels).astype(np.float32)) for p in ("s", "b", "m", "v")]
    output = s.add("BatchNormalization", [tensor, *parts], f"{name}.norm")
    return s.add("Relu", [output], f"{s.step()}.act")


def _add_pooling(s: OnnxBuilder) -> None:
    if s.height < 8:
        _add_plain(s)
        return
    op, (kernel, stride) = s.pick(["MaxPool", "AveragePool"]), s.pick([(2, 2), (2, 2), (3, 2), (3, 1)])
    pads = [kernel // 2 if kernel == 3 else 0] * 4
    shape = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": pads}
    s.tensor = s.add(op, [s.tensor], f"{s.step()}.pool", **shape)
    if stride == 2:
        up = int(kernel == 3)  # padded, an odd side rounds up
        s.height, s.width = (s.height + up) // 2, (s.width + up) // 2


def _add_grouped(s: OnnxBuilder) -> None:
    groups = s.pick([2, 4, 8])
    width = max(1, s.channels // groups // s.pick([1, 1, 8])) * groups
    if width != s.channels:
        s.tensor, s.channels = s.conv(s.tensor, width, 1, act="Relu"), width
    for _ in range(s.pick([1, 2])):
        s.tensor = s.conv(s.tensor, width, s.pick([1, 3]), 1, groups, act=s.pick(["Relu", ""]))


def _add_wide(s: OnnxBuilder) -> None:
    """Add a convolution with more weights than pixels, as at the end of large networks."""
    kernel = s.pick([3, 3, 3, 1])
    top = max(64.0, min(640.0, _MAX_WIDE_WEIGHTS / (kernel**2 * s.channels)))
    out = draw_channels(s, min(96.0, top), top)
    s.tensor, s.channels = s.conv(s.tensor, out, kernel, act="Relu"), out
    if s.height >= 4 and s.chance(0.2):
        shape = {"kernel_shape": [2, 2], "strides": [2, 2]}
        s.tensor = s.add("MaxPool", [s.tensor], f"{s.step()}.pool", **shape)
        s.height, s.width = s.height // 2, s.width // 2


Block = Callable[[OnnxBuilder], None]
WIDE = "wide"
FAMILIES: dict[str, tuple[Block, ...]] = {
    "plain": (_add_plain, _add_plain, _add_plain, _add_grouped, _add_pooling),
    "residual": (_add_residual, _add_residual, _add_residual, _add_plain),
    "inverted": (_add_inverted,),
    "dense": (_add_dense,),
    WIDE: (_add_wide, _add_wide, _add_wide, _add_inverted),
    "separable": (add_separable_block, add_separable_block, add_separable_block, _add_plain),
    "grouped": (add_grouped_block, add_grouped_block, add_grouped_block, _add_plain),
    "branched": (add_branched_block, add_branched_block, add_branched_block, _add_pooling),
    "mixed": (
        _add_plain,
        _add_residual,
        _add_inverted,
        _add_dense,
        _add_pooling,
        _add_grouped,
        add_separable_block,
        add_grouped_block,
        add_branched_block,
        add_gated_block,
    ),
}


def draw_image_network(seed: int, family: str) -> OnnxBuilder:
    """Draw an image network that ends in an exit.

    Args:
        seed: seed of the network.
        family: one of `FAMILIES`.
    """
    s = OnnxBuilder(np.random.default_rng((seed, sorted(FAMILIES).index(family))))
    s.height = s.width = s.pick(_SIDES[:8]) if s.chance(0.4) else 32
    s.channels = s.pick([3, 3, 3, 1])
    if s.chance(0.25):  # a later segment, whose input is an inner feature map
        s.channels, s.height = draw_channels(s, 8, 256), s.pick(_SIDES)
        s.width = s.height
    if family == WIDE:
        s.channels, s.height = draw_channels(s, 96, 512), s.pick((2, 3, 4, 4, 6, 7, 8, 8, 14))
        s.width = s.height
    start = (s.channels, s.height, s.width)
    s.weights[INPUT] = np.array((1, *start))
    if s.channels <= 3:
        out, (kernel, stride) = draw_channels(s, 8, 64), s.pick([(3, 1), (3, 1), (3, 1), (3, 2), (7, 2), (5, 1)])
        s.tensor = s.conv(s.tensor, out, kernel, stride, act=s.pick(["Relu", "Clip", ""]))
        s.channels = out
        s.shrink(stride)
    target_macs = MAX_MACS * 10 ** s.rng.uniform(-1.8, 0)
    # Large networks have large weights, which are never in a near cache when they are used.
    target_weights = 10 ** s.rng.uniform(6, 7) if family == WIDE else 0.0
    for _ in range(24):
        if s.macs > (5 * MAX_MACS if family == WIDE else target_macs) or (
            family == WIDE and _weight_count(s) > target_weights
        ):
            break
        s.pick(FAMILIES[family])(s)
    add_exit(s)
    return s


def _weight_count(s: OnnxBuilder) -> int:
    return sum(value.size for value in s.weights.values())


def add_exit(s: OnnxBuilder) -> None:
    """Add an exit: pooling, sometimes a hidden layer, class logits, and sometimes a confidence."""
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
