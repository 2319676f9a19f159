"""Blocks of mobile image networks for probes: large windows, groups, branches, resizing.

Orders and widths are random. The combinations of adjacent operators are those of known networks.
"""

import numpy as np

from eetool.latency.probes.onnx_builder import OnnxBuilder, draw_channels

_ACTIVATIONS = ("Relu", "Relu", "Clip", "HardSwish", "")
_MAX_PLANE = 180_000  # numbers in a tensor under a large window, which is slow in some runtimes
_MAX_CHANNELS = 512
_MAX_BRANCH_MACS = 1.5e7


def add_separable_block(s: OnnxBuilder) -> None:
    """Add depthwise convolutions of any size, each followed by a pointwise one."""
    residual, act, window = s.chance(0.5), s.pick(_ACTIVATIONS), s.pick((3, 3, 5, 5, 7, 7, 9))
    if s.channels < 12:
        _add_stem(s)
    for _ in range(s.pick((1, 2, 3))):
        stride = 2 if s.height >= 8 and not residual and s.chance(0.3) else 1
        if s.channels * s.height * s.width > _MAX_PLANE:
            window = min(window, 5)
        before = s.tensor
        output = s.conv(before, s.channels, window, stride, s.channels, act)
        s.shrink(stride)
        if residual:
            output = s.add("Add", [output, before], f"{s.step()}.add")
        out = s.channels if residual else _draw_width(s)
        s.tensor = s.conv(output, out, 1, act=act)
        s.channels = out


def add_grouped_block(s: OnnxBuilder) -> None:
    """Add grouped convolutions whose channels are mixed by a transposition or by halves."""
    groups = s.pick((2, 2, 3, 4, 4, 8))
    unit = groups * s.pick((4, 8, 8, 16))
    width = unit * max(1, round(min(max(s.channels, 24), 320) / unit))
    if width != s.channels:
        s.tensor, s.channels = s.conv(s.tensor, width, 1, act="Relu"), width
    for _ in range(s.pick((1, 2, 2))):
        before = s.tensor
        if width % 2 == 0 and s.chance(0.3):
            first, second = s.halves(before)
            output = s.conv(second, width // 2, s.pick((1, 3)), act="Relu", of=width // 2)
            s.tensor = _shuffle(s, s.add("Concat", [first, output], f"{s.step()}.concat", axis=1), 2)
            continue
        output = s.conv(before, width, s.pick((1, 1, 3)), 1, groups, s.pick(("Relu", "")))
        output = _shuffle(s, output, groups) if s.chance(0.8) else output
        output = s.conv(output, width, s.pick((3, 3, 5)), 1, s.pick((width, width, groups)), s.pick(("Relu", "")))
        output = s.conv(output, width, 1, 1, groups)
        if s.chance(0.7):
            name = s.step()
            output = s.activate(s.add("Add", [output, before], f"{name}.add"), name, "Relu")
        s.tensor = output


def add_branched_block(s: OnnxBuilder) -> None:
    """Add concatenated branches: convolutions of several sizes, poolings, and downsampling with upsampling."""
    if s.channels < 8:
        _add_stem(s)
    for _ in range(s.pick((1, 2))):
        before, parts, widths = s.tensor, [], []
        for _ in range(s.pick((2, 3, 4))):
            kind = s.pick(("conv", "conv", "conv", "pool", "narrow", "narrow", "resize"))
            output, of = before, s.channels
            if kind == "pool":
                output = _add_pool_branch(s, output)
            elif kind == "resize" and s.height >= 8 and s.height % 2 == s.width % 2 == 0:
                output = _downsample_and_upsample(s, output)
            elif kind == "narrow":
                of = draw_channels(s, 8, 64)
                output = s.conv(output, of, 1, act="Relu")
            window = s.pick((1, 3, 3, 5)) if kind in ("conv", "narrow") else 1
            top = _MAX_BRANCH_MACS / (window**2 * of * s.height * s.width)
            widths.append(draw_channels(s, 8, max(12, min(128, top))))
            parts.append(s.conv(output, widths[-1], window, act="Relu", of=of))
        s.tensor = s.add("Concat", parts, f"{s.step()}.concat", axis=1)
        s.channels = sum(widths)
        if s.channels > _MAX_CHANNELS or s.chance(0.3):
            out = draw_channels(s, 16, 128)
            s.tensor, s.channels = s.conv(s.tensor, out, 1, act=s.pick(_ACTIVATIONS)), out
    if s.height >= 8 and s.chance(0.5):
        shape = {"kernel_shape": [2, 2], "strides": [2, 2]}
        s.tensor = s.add(s.pick(("MaxPool", "MaxPool", "AveragePool")), [s.tensor], f"{s.step()}.pool", **shape)
        s.height, s.width = s.height // 2, s.width // 2


def add_gated_block(s: OnnxBuilder) -> None:
    """Add a gate: an activation without a fused convolution, and a product of tensors."""
    before = s.tensor
    first, name = s.conv(before, s.channels, s.pick((1, 3))), s.step()
    output = s.activate(first, name, s.pick(("Sigmoid", "Tanh", "HardSwish", "HardSigmoid")))
    s.tensor = s.add("Mul", [output, before], f"{s.step()}.mul")


def _add_stem(s: OnnxBuilder) -> None:
    out = draw_channels(s, 16, 96)
    s.tensor, s.channels = s.conv(s.tensor, out, 3, act="Relu"), out


def _draw_width(s: OnnxBuilder) -> int:
    """Draw output channels, more of them for small images."""
    top = min(_MAX_CHANNELS, 2 * s.channels, max(24, _MAX_PLANE // (s.height * s.width)))
    return draw_channels(s, min(max(8, s.channels // 2), top), top)


def _shuffle(s: OnnxBuilder, tensor: str, groups: int) -> str:
    """Interleave the channels of all groups (ShuffleNet, arXiv 1707.01083)."""
    split, whole = [0, groups, s.channels // groups, s.height, s.width], [0, s.channels, s.height, s.width]
    view = _reshape(s, tensor, split)
    turned = s.add("Transpose", [view], f"{s.step()}.transpose", perm=[0, 2, 1, 3, 4])
    return _reshape(s, turned, whole)


def _reshape(s: OnnxBuilder, tensor: str, shape: list[int]) -> str:
    name = s.step()
    return s.add("Reshape", [tensor, s.constant(f"{name}.shape", np.array(shape, np.int64))], f"{name}.view")


def _add_pool_branch(s: OnnxBuilder, tensor: str) -> str:
    shape = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
    return s.add(s.pick(("MaxPool", "AveragePool")), [tensor], f"{s.step()}.pool", **shape)


def _downsample_and_upsample(s: OnnxBuilder, tensor: str) -> str:
    shape = {"kernel_shape": [2, 2], "strides": [2, 2]}
    small = s.add("MaxPool", [tensor], f"{s.step()}.pool", **shape)
    name = s.step()
    scales = s.constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
    how = s.pick(("nearest", "linear"))
    mode = {"nearest": ("asymmetric", "floor"), "linear": ("half_pixel", "round_prefer_floor")}[how]
    attributes = {"mode": how, "coordinate_transformation_mode": mode[0], "nearest_mode": mode[1]}
    return s.add("Resize", [small, "", scales], f"{name}.resize", **attributes)
