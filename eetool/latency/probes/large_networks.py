"""Probe networks of feature maps of 56 to 224 pixels, and of kernels of architectures beyond small image networks.

Orders and widths are random, as in the other families. The combinations of adjacent operators are those that exporters
write: normalisation over channels as an instance normalisation between reshapes or as a layer normalisation between
transpositions, GELU by its error function, patches by a strided convolution.
"""

from collections.abc import Callable

import numpy as np

from eetool.latency.probes.image_networks import MAX_MACS, add_exit, add_squeeze_excitation
from eetool.latency.probes.onnx_builder import INPUT, OnnxBuilder, draw_channels
from eetool.latency.probes.transformer_networks import add_attention, add_feed_forward, add_gelu

_MAX_PLANE = 420_000  # numbers in a tensor
_MAX_STREAM_MACS = 1.2e7  # of one convolution of a stream
_MAX_BLOCK_MACS = 3e7
_SIDES = (56, 56, 64, 80, 96, 112, 112, 128, 160, 224)
_ACTIVATIONS = ("Relu", "Clip", "HardSwish", "HardSwish")
_SMALL_SIDES = (7, 14, 14, 16, 20, 24, 28, 28, 32, 40, 56)


def _draw_map(s: OnnxBuilder, sides: tuple[int, ...], unit: int = 8) -> None:
    """Draw the size of an inner feature map, within the limits of a tensor and of the products of its channels."""
    s.height = s.width = s.pick(sides)
    by_macs = int((_MAX_BLOCK_MACS / (8 * s.height * s.width)) ** 0.5)
    room = max(unit, min(320, _MAX_PLANE // s.height**2, by_macs))
    s.channels = unit * max(1, round(draw_channels(s, min(16, room), room) / unit))


def _add_large_block(s: OnnxBuilder) -> None:
    """Add an inverted bottleneck with a window of 3, 5 or 7, often with gated channels."""
    act, window = s.pick(_ACTIVATIONS), s.pick((3, 3, 5, 5, 7))
    stride = 2 if s.chance(0.35) else 1
    room = _MAX_PLANE // (s.height * s.width)
    wide = max(8, min(s.channels * s.pick((1, 3, 4, 6)), room, 672) // 8 * 8)
    before, channels = s.tensor, s.channels
    tensor = s.conv(before, wide, 1, act=act)
    tensor = s.conv(tensor, wide, window, stride, wide, act, of=wide)
    s.shrink(stride)
    if s.chance(0.5):
        tensor = add_squeeze_excitation(s, tensor, wide)
    out = channels if stride == 1 else max(8, min(2 * channels, room * 4, 192) // 8 * 8)
    tensor = s.conv(tensor, out, 1, of=wide)
    if stride == 1:
        tensor = s.add("Add", [tensor, before], f"{s.step()}.add")
    s.tensor, s.channels = tensor, out


def _add_cardinal_block(s: OnnxBuilder) -> None:
    """Add a bottleneck with a convolution of 8 to 32 groups (ResNeXt, arXiv 1611.05431), sometimes gated."""
    groups, stride = s.pick((8, 8, 16, 16, 32)), 2 if s.height >= 14 and s.chance(0.3) else 1
    width = groups * s.pick((4, 8, 8, 16))
    while width > 4 * groups and width * (s.channels + width) * s.height * s.width > _MAX_BLOCK_MACS:
        width -= 4 * groups
    before, channels = s.tensor, s.channels
    tensor = s.conv(before, width, 1, act="Relu")
    tensor = s.conv(tensor, width, 3, stride, groups, "Relu", of=width)
    side = s.height, s.width
    s.shrink(stride)
    if s.chance(0.5):
        tensor = add_squeeze_excitation(s, tensor, width)
    out = channels if stride == 1 and s.chance(0.6) else width
    tensor = s.conv(tensor, out, 1, of=width)
    shortcut = before
    if out != channels or stride > 1:
        inside, (s.height, s.width) = (s.height, s.width), side
        shortcut = s.conv(before, out, 1, stride)
        s.height, s.width = inside
    name = s.step()
    s.tensor = s.activate(s.add("Add", [tensor, shortcut], f"{name}.add"), name, "Relu")
    s.channels = out


def _add_group_norm(s: OnnxBuilder, tensor: str, groups: int) -> str:
    """Add a group normalisation as exporters write it: an instance normalisation over (1, groups, all)."""
    name, channels = s.step(), s.channels
    rows = s.constant(f"{name}.rows", np.array([0, groups, -1], np.int64))
    view = s.add("Reshape", [tensor, rows], f"{name}.view")
    name = s.step()
    ones = [s.constant(f"{name}.{part}", np.full(groups, value, np.float32)) for part, value in (("w", 1), ("b", 0))]
    normal = s.add("InstanceNormalization", [view, *ones], f"{name}.norm")
    name = s.step()
    whole = s.constant(f"{name}.whole", np.array([0, channels, s.height, s.width], np.int64))
    output = s.add("Reshape", [normal, whole], f"{name}.view")
    output = _add_per_channel(s, "Mul", output)
    return _add_per_channel(s, "Add", output)


def _add_per_channel(s: OnnxBuilder, op: str, tensor: str) -> str:
    first = op == "Mul" and s.chance(0.5)
    # A constant that comes second is fused into a convolution, and then has its step; else it is a step of its own.
    name = tensor.partition(".")[0] if tensor.endswith(".conv") and not first else s.step()
    constant = s.constant(f"{name}.c", s.rng.uniform(0.5, 1.5, (s.channels, 1, 1)).astype(np.float32))
    reads = [constant, tensor] if first else [tensor, constant]
    return s.add(op, reads, f"{name}.{op.lower()}")


def _add_pooling_block(s: OnnxBuilder) -> None:
    """Add average pooling as a mixer, then 1×1 convolutions with GELU (PoolFormer, arXiv 2111.11418)."""
    before = s.tensor
    inner = _add_group_norm(s, before, 1)
    shape = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
    pooled = s.add("AveragePool", [inner], f"{s.step()}.pool", **shape)
    mixed = _add_per_channel(s, "Mul", s.add("Sub", [pooled, inner], f"{s.step()}.sub"))
    s.tensor = s.add("Add", [before, mixed], f"{s.step()}.add")
    wide, before = s.channels * s.pick((2, 4)), s.tensor
    inner = add_gelu(s, s.conv(_add_group_norm(s, before, 1), wide, 1))
    inner = _add_per_channel(s, "Mul", s.conv(inner, s.channels, 1, of=wide))
    s.tensor = s.add("Add", [before, inner], f"{s.step()}.add")


def _add_group_norm_block(s: OnnxBuilder) -> None:
    """Add a bottleneck with group normalisation and ReLU before each convolution (arXiv 1912.11370)."""
    before, channels = s.tensor, s.channels
    inner = max(16, channels // 4 // 16 * 16)
    tensor = before
    for out, window, of in ((inner, 1, channels), (inner, 3, inner), (channels, 1, inner)):
        s.channels = of
        name = s.step()
        tensor = s.conv(s.activate(_add_group_norm(s, tensor, s.pick((8, 16))), name, "Relu"), out, window, of=of)
    s.channels = channels
    s.tensor = s.add("Add", [tensor, before], f"{s.step()}.add")


def _add_layer_norm_block(s: OnnxBuilder) -> None:
    """Add a depthwise 7×7, then layer normalisation and products over channels (ConvNeXt, arXiv 2201.03545)."""
    before, dim = s.tensor, s.channels
    inner = s.conv(before, dim, s.pick((5, 7, 7)), 1, dim)
    inner = s.add("Transpose", [inner], f"{s.step()}.transpose", perm=[0, 2, 3, 1])  # (1, C, H, W) -> (1, H, W, C)
    name = s.step()
    parts = [s.constant(f"{name}.{part}", np.ones(dim, np.float32)) for part in ("w", "b")]
    inner = s.add("LayerNormalization", [inner, *parts], f"{name}.norm", axis=-1)
    wide = dim * s.pick((2, 4))
    inner = add_gelu(s, _add_product(s, inner, dim, wide))
    inner = _add_product(s, inner, wide, dim)
    name = s.step()
    inner = s.add("Mul", [inner, s.constant(f"{name}.c", np.full(dim, 0.1, np.float32))], f"{name}.mul")
    inner = s.add("Transpose", [inner], f"{s.step()}.transpose", perm=[0, 3, 1, 2])  # (1, H, W, C) -> (1, C, H, W)
    s.tensor = s.add("Add", [before, inner], f"{s.step()}.add")


def _add_product(s: OnnxBuilder, tensor: str, inner: int, out: int) -> str:
    name = s.step()
    s.macs += s.height * s.width * inner * out
    output = s.add("MatMul", [tensor, s.weight(f"{name}.w", inner, out)], f"{name}.matmul")
    name = s.step()
    return s.add("Add", [output, s.weight(f"{name}.b", out)], f"{name}.bias")


def _add_streams(s: OnnxBuilder) -> None:
    """Add streams of convolutions over one tensor, with several activations, that are concatenated."""
    before, of, parts, widths = s.tensor, s.channels, [], []
    for _ in range(s.pick((2, 2, 3))):
        window = s.pick((1, 3, 5))
        top = _MAX_STREAM_MACS / (s.height * s.width * window**2 * of)
        width = draw_channels(s, 8, max(12, min(64, top)))
        output = s.conv(before, width, window, act=s.pick(("Relu", "Tanh", "Sigmoid")), of=of)
        if s.height * s.width * 9 * width**2 <= _MAX_STREAM_MACS:
            output = s.conv(output, width, 3, act=s.pick(("Relu", "HardSwish", "Tanh")), of=width)
        parts.append(output)
        widths.append(width)
    s.tensor = s.add("Concat", parts, f"{s.step()}.concat", axis=1)
    s.channels = sum(widths)
    stride = 2 if s.height >= 16 else 1
    out = draw_channels(s, 8, max(12, min(64, _MAX_STREAM_MACS * stride**2 / (s.height * s.width * 9 * s.channels))))
    s.tensor = s.conv(s.tensor, out, 3, stride, act="Relu")
    s.channels = out
    s.shrink(stride)


def _add_pixel_gate(s: OnnxBuilder) -> None:
    """Add a factor per pixel from a reduction over channels (CBAM, arXiv 1807.06521)."""
    axes = s.constant(f"{s.step()}.axes", np.array([1], np.int64))
    op = s.pick(("ReduceMean", "ReduceMax"))
    row = s.add(op, [s.tensor, axes], axes.replace(".axes", ".reduced"), keepdims=1)
    s.tensor = s.add("Mul", [s.tensor, s.add("Tanh", [row], f"{s.step()}.tanh")], f"{s.step()}.mul")


Block = Callable[[OnnxBuilder], None]
CHANNELNORM, PATCHES = "channelnorm", "patches"
_BLOCKS: dict[str, tuple[Block, ...]] = {
    "large": (_add_large_block,),
    "cardinal": (_add_cardinal_block,),
    CHANNELNORM: (
        *(_add_pooling_block, _add_pooling_block, _add_layer_norm_block, _add_layer_norm_block),
        *(_add_group_norm_block, _add_pixel_gate),
    ),
    "streams": (_add_streams,),
}
LARGE_FAMILIES = (*_BLOCKS, PATCHES)
ONNX_ONLY = (CHANNELNORM, PATCHES)  # the conversion to TFLite has no rule for some of their operators


def draw_large_network(seed: int, family: str) -> OnnxBuilder:
    """Draw a network of one of `LARGE_FAMILIES`; it ends in an exit."""
    s = OnnxBuilder(np.random.default_rng((seed, 200 + LARGE_FAMILIES.index(family))))
    if family == PATCHES:
        return _draw_patches(s)
    image = family in ("large", "streams") and s.chance(0.4)
    if image:
        s.height = s.width = s.pick(_SIDES[4:])
        s.channels = 3
    else:
        sides = _SIDES if family in ("large", "streams") else _SMALL_SIDES
        _draw_map(s, sides, 16 if family == CHANNELNORM else 8)
    s.weights[INPUT] = np.array((1, s.channels, s.height, s.width))
    if image:
        out, (window, stride) = draw_channels(s, 8, 32), s.pick(((3, 2), (5, 2), (7, 2), (4, 4), (7, 4)))
        s.tensor = s.conv(s.tensor, out, window, stride, act=s.pick(_ACTIVATIONS))
        s.channels = out
        s.shrink(stride)
    target_macs = MAX_MACS * 10 ** s.rng.uniform(-1, 0)
    for _ in range(8):
        s.pick(_BLOCKS[family])(s)
        if s.macs > target_macs:
            break
    add_exit(s)
    return s


def _draw_patches(s: OnnxBuilder) -> OnnxBuilder:
    """Draw a vision transformer: patches, a class token, positions, and one to three layers (arXiv 2010.11929)."""
    side, patch = s.pick(((96, 8), (96, 16), (128, 16), (160, 16), (224, 16), (224, 32), (64, 8)))
    heads = s.pick((1, 2, 3, 3, 4))
    width, tokens = heads * s.pick((32, 32, 64)), (side // patch) ** 2
    s.height = s.width = side
    s.weights[INPUT] = np.array((1, 3, side, side))
    tensor = s.conv("x", width, patch, patch)
    name = s.step()
    flat = s.constant(f"{name}.shape", np.array([0, width, tokens], np.int64))
    tensor = s.add("Reshape", [tensor, flat], f"{name}.view")
    tensor = s.add("Transpose", [tensor], f"{s.step()}.transpose", perm=[0, 2, 1])  # (1, D, T) -> (1, T, D)
    name = s.step()
    positions = s.constant(f"{name}.positions", s.rng.standard_normal((1, tokens, width)).astype(np.float32))
    tensor = s.add("Add", [tensor, positions], f"{name}.add")
    for _ in range(s.pick((1, 2, 3))):
        tensor = add_attention(s, tensor, tokens, width, heads)
        tensor = add_feed_forward(s, tensor, tokens, width, width * s.pick((2, 4)))
        if s.macs > 2 * MAX_MACS:
            break
    name = s.step()
    axes = s.constant(f"{name}.axes", np.array([1], np.int64))
    row = s.add("ReduceMean", [tensor, axes], f"{name}.mean", keepdims=0)
    s.tensor = s.linear(row, width, s.pick((10, 100, 1000)), s.step())
    return s
