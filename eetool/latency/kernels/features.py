"""Features of kernels for latency regressions."""

import math
from collections.abc import Mapping

import numpy as np

from eetool.latency.kernels.kernel import FP32, FUSED, INT8, NO_ACTIVATION, PASS, Kernel, complete_shape, work

_ALIGNMENT = 4  # convolutions use blocks of channels only if their input channels are a multiple of this


def linear_terms(kernel: Kernel, channel_block: int) -> np.ndarray:
    """Return the terms of the linear latency model of a kernel.

    Args:
        kernel: the kernel.
        channel_block: channels per block on the device.

    Returns:
        (4,): 1, millions of MACs with channels rounded up to blocks, megabytes of tensors, megabytes of weights.
    """
    done = work(kernel)
    macs = done.macs * _rounding(kernel, _block_of(kernel, channel_block))
    moved = done.read_bytes + done.written_bytes * (1 + _has_pass(kernel.shape))
    return np.array([1.0, macs / 1e6, moved / 1e6, done.weight_bytes / 1e6])


def log_sizes(kernel: Kernel, channel_block: int) -> np.ndarray:
    """Return the features of a kernel within its kind.

    Args:
        kernel: the kernel.
        channel_block: channels per block on the device.

    Returns:
        (features,): logarithms of the sizes in base 2, and markers of other algorithms, scaled to the same unit.
    """
    s = complete_shape(kernel.kind, kernel.shape)
    make = _SIZES.get(kernel.kind)
    if make is not None:
        return np.array(make(s, _block_of(kernel, channel_block)), float)
    return np.array([_log(value) for _, value in sorted(s.items())])


def kernel_family(kernel: Kernel) -> tuple[object, ...]:
    """Return the family of a kernel, whose members share one linear model: kind, precision and algorithm."""
    s = complete_shape(kernel.kind, kernel.shape)
    marks = [s.get(name, 0) for name in ("form", "heavy", "strided", "blocked", "reduced")]
    if kernel.kind == "conv":
        marks += [int(s["groups"] > 1), int(s["kernel"] * s["kernel_w"] == 1)]
    if kernel.kind == "depthwise" and kernel.precision == INT8 and not s["form"]:
        marks.append(int(s["channels"] % _VECTOR > 0))
    return kernel.kind, kernel.precision, *marks


def _block_of(kernel: Kernel, channel_block: int) -> int:
    """Return the channels per block of a kernel; int8 kernels do not use blocks."""
    return channel_block if kernel.precision == FP32 else 1


_SETS = 4  # blocks of output channels per pass of a convolution in blocks
_LONG_RUN = 8.0  # log2 of a run of neighbours from which its length does not matter
_VECTOR, _ONE_BY_ONE = 16, 8.0  # channels of an int8 vector, and the slowdown of remaining channels
_MARK = 3.0  # a marker equals a factor of eight in a size


def _log(value: float) -> float:
    return math.log2(max(value, 1))


def _rounding(kernel: Kernel, block: int) -> float:
    """Return the factor in work of rounding channels up to blocks."""
    if block == 1 or kernel.kind != "conv":
        return 1.0
    s = complete_shape(kernel.kind, kernel.shape)
    if not _in_blocks(s, block):
        return 1.0
    inner, out = s["in_channels"] // s["groups"], s["out_channels"]
    inner_rounded = inner if inner < block else -(-inner // block) * block
    return inner_rounded / inner * (-(-out // block) * block) / out


def _in_blocks(s: dict[str, int], block: int) -> bool:
    inner, out, groups = s["in_channels"] // s["groups"], s["out_channels"], s["groups"]
    if groups == 1:
        return inner < block or inner % _ALIGNMENT == 0
    return out % block == 0 and inner % block == 0 and (out // groups) % block == 0


def _conv(s: dict[str, int], block: int) -> list[float]:
    inner, out, pixels = s["in_channels"] // s["groups"], s["out_channels"], s["out_height"] * s["out_width"]
    groups = s["groups"]
    area = s["kernel"] * s["kernel_w"]
    in_blocks = block > 1 and _in_blocks(s, block)
    sets = -(-out // block) % _SETS  # blocks of output channels in the last pass
    return [
        _log(inner),
        _log(out),
        _log(s["out_height"]),
        _log(s["out_width"]),
        _log(area),
        _log(s["groups"]),
        2.0 * float(area == 1),
        1.0 * float(s["stride"] > 1),
        *_activated(s),
        0.5 * s["add"],
        _MARK * float(in_blocks),
        _MARK * float(in_blocks and inner < block),
        *(2.0 * float(in_blocks and sets == left) for left in range(1, _SETS)),
        *(2.0 * math.log2(-(-size // block) * block / size) if in_blocks else 0.0 for size in (inner, out)),
        2.0 * math.log2(_row_steps(s) / s["out_width"]),
        0.7 * _log(pixels),
        *(
            2.0 * math.log2(-(-out // groups // wide) * wide / (out / groups)) if block == 1 else 0.0
            for wide in (8, 16)
        ),
    ]


def _activated(s: Mapping[str, int]) -> tuple[float, float]:
    return 0.5 * float(s["activation"] > NO_ACTIVATION), float(max(0, s["activation"] - FUSED))


def _has_pass(shape: Mapping[str, int]) -> bool:
    return shape.get("activation", NO_ACTIVATION) >= PASS


def _row_steps(s: dict[str, int]) -> float:
    """Return the cost of an output row in pixels; single pixels cost three.

    A kernel in blocks computes three pixels at a time. It computes single pixels for the remainder, and near
    the edges, where the window extends beyond the input.
    """
    pad, stride = s["kernel_w"] // 2, s["stride"]
    beyond = (s["out_width"] - 1) * stride + s["kernel_w"] - pad - s["width"]
    edges = min(-(-pad // stride) + max(0, -(-beyond // stride)), s["out_width"])
    return 3 * (edges + -(-(s["out_width"] - edges) // 3))


def _depthwise(s: dict[str, int], block: int) -> list[float]:
    plain = block > 1 and s["channels"] * s["multiplier"] % _ALIGNMENT > 0
    area = s["kernel"] * s["kernel_w"]
    return [
        *(_log(s["channels"]), _log(s["out_height"]), _log(s["out_width"]), _log(area)),
        *(1.0 * float(s["stride"] > 1), *_activated(s), _MARK * float(plain)),
        0.0 if block > 1 or s["form"] else 2.0 * math.log2(1 + _ONE_BY_ONE * (s["channels"] % _VECTOR) / s["channels"]),
    ]


def _linear(s: dict[str, int], block: int) -> list[float]:
    return [_log(s["in_features"]), _log(s["out_features"]), _log(s["rows"]), 0.5 * s["activation"]]


def _pool(s: dict[str, int], block: int) -> list[float]:
    return [
        *(_log(s["channels"]), _log(s["out_height"]), _log(s["out_width"]), _log(s["kernel"] * s["kernel_w"])),
        *(1.0 * float(s["stride"] > 1), _MARK * s["blocked"]),
    ]


def _global_pool(s: dict[str, int], block: int) -> list[float]:
    return [_log(s["channels"]), _log(s["height"] * s["width"]), _MARK * s["blocked"], _MARK * s["reduced"]]


def _norm(s: dict[str, int], block: int) -> list[float]:
    return [_log(s["elements"]), 0.5 * _log(s["channels"]), _MARK * (s["channels"] > 0), _MARK * s["blocked"]]


def _elementwise(s: dict[str, int], block: int) -> list[float]:
    share = s["reads"] / s["elements"]
    marks = (
        share == 2,
        1 < share < 2,
        share > 2,
        s["heavy"],
        s["blocked"],
    )  # two equal tensors, a small second one, a sum of many
    return [_log(s["elements"]), _log(share) if share > 2 else 0.0, *(_MARK * float(mark) for mark in marks)]


def _layout(s: dict[str, int], block: int) -> list[float]:
    marks = (s["blocked"] == 1, s["blocked"] == 2, s["strided"] == 1)
    sizes = [_log(s["elements"]), _log(s["elements"] / s["reads"]), *(_MARK * float(mark) for mark in marks)]
    return [*sizes, min(_log(s["run"]), _LONG_RUN) if s["run"] else _LONG_RUN]


def _other(s: dict[str, int], block: int) -> list[float]:
    return [_log(s["elements"]), _log(s["reads"])]


_SIZES = {
    "conv": _conv,
    "depthwise": _depthwise,
    "linear": _linear,
    "pool": _pool,
    "global_pool": _global_pool,
    "norm": _norm,
    "elementwise": _elementwise,
    "layout": _layout,
    "other": _other,
}
