"""Fused kernels, the steps that a runtime runs, by kind and sizes, with their MACs and bytes.

Required sizes of each kind, then optional ones with their defaults:

    conv         in_channels out_channels height width kernel; stride=1 groups=1 add=0, and those of both
    depthwise    channels height width kernel; stride=1 multiplier=1, and those of both
      both       kernel_w=kernel, out_height and out_width = size / stride rounded up, activation=0 batch=1
    linear       in_features out_features; rows=1 activation=0
    matmul       batch rows inner columns
    pool         channels height width kernel; stride=1 kernel_w out_height out_width as above, activation=0 blocked=0
                 batch=1
    global_pool  channels height width; blocked=0, reduced=0 (1 for a mean over axes), batch=1
    elementwise  elements; reads=elements, heavy=0 (1 with exp, erf, tanh, …) blocked=0
    layout       elements; reads=elements, blocked=0 (1 into blocks of channels, 2 out), strided=0 (1 transposed),
                 run=0 (numbers that stay neighbours in memory; 0: unknown)
    norm         elements; channels=0 (of a batch normalisation; 0: rows are normalised), blocked=0
    softmax      rows columns
    other        elements; reads=elements, macs=0 (multiply-accumulates)

`activation` is 1 if it is fused into the kernel, and 2 if it is a second pass over the output. It is 3 if that pass
computes exponentials. `blocked` is 1 if the kernel works on tensors in blocks of channels. `height` and `width` are
those of the input. `batch` counts images; every other size of a kernel with it is that of one image. `rows` counts
positions of a sequence, and the examples of a batch. All kinds but `other` have the
optional form=0: the algorithm of the runtime (`FORMS`). Times of one form do not predict those of another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eetool.errors import ArtefactError

REQUIRED: dict[str, tuple[str, ...]] = {
    "conv": ("in_channels", "out_channels", "height", "width", "kernel"),
    "depthwise": ("channels", "height", "width", "kernel"),
    "linear": ("in_features", "out_features"),
    "matmul": ("batch", "rows", "inner", "columns"),
    "pool": ("channels", "height", "width", "kernel"),
    "global_pool": ("channels", "height", "width"),
    "elementwise": ("elements",),
    "layout": ("elements",),
    "norm": ("elements",),
    "softmax": ("rows", "columns"),
    "other": ("elements",),
}
# 0: follows from the others.
_SLIDING = {"stride": 1, "kernel_w": 0, "out_height": 0, "out_width": 0, "activation": 0, "batch": 1}
OPTIONAL: dict[str, dict[str, int]] = {
    "conv": {**_SLIDING, "groups": 1, "add": 0, "form": 0},
    "depthwise": {**_SLIDING, "multiplier": 1, "form": 0},
    "linear": {"rows": 1, "activation": 0, "form": 0},
    "matmul": {"form": 0},
    "pool": {**_SLIDING, "blocked": 0, "form": 0},
    "global_pool": {"blocked": 0, "reduced": 0, "batch": 1, "form": 0},
    "elementwise": {"reads": 0, "heavy": 0, "blocked": 0, "form": 0},
    "layout": {"reads": 0, "blocked": 0, "strided": 0, "run": 0, "form": 0},
    "norm": {"channels": 0, "blocked": 0, "form": 0},
    "softmax": {"form": 0},
    "other": {"reads": 0, "macs": 0},
}
# interpreted: run by the interpreter instead of XNNPACK; large_window: depthwise with more taps than XNNPACK has a
# kernel for; average: average pooling; converted: between float and int8; joined, cut, padded: copies side by side, out
# of, or into a larger tensor; resized: interpolation.
FORMS = ("usual", "interpreted", "large_window", "average", "converted", "joined", "cut", "padded", "resized")
# Activation of a convolution: none, fused, or a second pass over the output, without or with exponentials.
NO_ACTIVATION, FUSED, PASS, EXPONENTIAL_PASS = range(4)
USUAL, INTERPRETED, LARGE_WINDOW, AVERAGE, CONVERTED, JOINED, CUT, PADDED, RESIZED = range(len(FORMS))
KINDS = tuple(REQUIRED)
FP32, INT8 = "fp32", "int8"
_BYTES = {FP32: 4, INT8: 1}

Shape = Mapping[str, int]


@dataclass(frozen=True)
class Kernel:
    """One step of a graph. `name` is the name of its main node, `ops` are the operators fused into it."""

    kind: str
    shape: dict[str, int]
    precision: str = FP32
    name: str = ""
    ops: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for kinds that only move or compare numbers."""
        return macs(self.kind, self.shape)

    @property
    def key(self) -> tuple[str, str, tuple[tuple[str, int], ...]]:
        """Identity of the kernel: kind, precision and complete sizes, sorted."""
        return self.kind, self.precision, tuple(sorted(complete_shape(self.kind, self.shape).items()))


@dataclass(frozen=True)
class Work:
    """Work of a kernel: multiply-accumulates, and bytes read, written, and held as weights."""

    macs: float
    read_bytes: float
    written_bytes: float
    weight_bytes: float

    @property
    def moved_bytes(self) -> float:
        """Bytes read, written, and held as weights."""
        return self.read_bytes + self.written_bytes + self.weight_bytes


def complete_shape(kind: str, shape: Shape) -> dict[str, int]:
    """Return the shape with all optional sizes.

    Raises:
        ArtefactError: the kind is unknown, or a size is missing, unknown or not positive.
    """
    check_shape(kind, shape, kind)
    sizes = {**OPTIONAL.get(kind, {}), **shape}
    if "kernel_w" in sizes:
        sizes["kernel_w"] = sizes["kernel_w"] or sizes["kernel"]
        for out, size in (("out_height", "height"), ("out_width", "width")):
            sizes[out] = sizes[out] or -(-sizes[size] // sizes["stride"])
    if "reads" in sizes:
        sizes["reads"] = sizes["reads"] or sizes["elements"]
    return sizes


def check_shape(kind: str, shape: Shape, at: str) -> None:
    """Check that the sizes fit the kind.

    Args:
        kind: kind of the kernel.
        shape: its sizes.
        at: where the kernel comes from, for messages.

    Raises:
        ArtefactError: the kind is unknown, or a size is missing, unknown or not positive.
    """
    if kind not in REQUIRED:
        raise ArtefactError(f"{at}: unknown kernel {kind!r}", f"Known kernels: {', '.join(KINDS)}.")
    missing = [name for name in REQUIRED[kind] if name not in shape]
    if missing:
        raise ArtefactError(f"{at}: a {kind} kernel needs the size {missing[0]!r}")
    optional = OPTIONAL.get(kind, {})
    for name, size in shape.items():
        if name not in REQUIRED[kind] and name not in optional:
            raise ArtefactError(f"{at}: a {kind} kernel has no size {name!r}")
        if size < (0 if optional.get(name, 1) == 0 else 1):
            raise ArtefactError(f"{at}: {name} of a {kind} kernel cannot be {size}")


def macs(kind: str, shape: Shape) -> int:
    """Return the multiply-accumulates of one run."""
    s = complete_shape(kind, shape)
    if kind == "conv":
        taps = s["kernel"] * s["kernel_w"] * s["in_channels"] // s["groups"]
        return s["batch"] * s["out_channels"] * s["out_height"] * s["out_width"] * taps
    if kind == "depthwise":
        outputs = s["batch"] * s["channels"] * s["multiplier"] * s["out_height"] * s["out_width"]
        return outputs * s["kernel"] * s["kernel_w"]
    if kind == "linear":
        return s["rows"] * s["in_features"] * s["out_features"]
    if kind == "matmul":
        return s["batch"] * s["rows"] * s["inner"] * s["columns"]
    return s["macs"] if kind == "other" else 0


def work(kernel: Kernel) -> Work:
    """Return the MACs and bytes of a kernel."""
    s = complete_shape(kernel.kind, kernel.shape)
    read, written, weights = _numbers(kernel.kind, s)
    size = _BYTES[kernel.precision]
    images = images_of(kernel)
    return Work(float(macs(kernel.kind, s)), images * read * size, images * written * size, weights * size)


def images_of(kernel: Kernel) -> int:
    """Return the number of images that a kernel computes one after the other; 1 for kinds that do not count them."""
    return kernel.shape.get("batch", 1) if "batch" in OPTIONAL[kernel.kind] else 1


def _numbers(kind: str, s: Shape) -> tuple[int, int, int]:
    """Return how many numbers are read and written for one image, and held as weights; `s` must be complete."""
    if kind == "conv":
        out = s["out_channels"] * s["out_height"] * s["out_width"]
        read = s["in_channels"] * s["height"] * s["width"] + s["add"] * out
        return read, out, s["in_channels"] // s["groups"] * s["out_channels"] * s["kernel"] * s["kernel_w"]
    if kind == "depthwise":
        channels = s["channels"] * s["multiplier"]
        out = channels * s["out_height"] * s["out_width"]
        return s["channels"] * s["height"] * s["width"], out, channels * s["kernel"] * s["kernel_w"]
    if kind == "linear":
        weights = s["in_features"] * s["out_features"]
        return s["rows"] * s["in_features"], s["rows"] * s["out_features"], weights
    if kind == "matmul":
        read = s["batch"] * s["inner"] * (s["rows"] + s["columns"])
        return read, s["batch"] * s["rows"] * s["columns"], 0
    if kind == "pool":
        return s["channels"] * s["height"] * s["width"], s["channels"] * s["out_height"] * s["out_width"], 0
    if kind == "global_pool":
        return s["channels"] * s["height"] * s["width"], s["channels"], 0
    if kind == "softmax":
        return s["rows"] * s["columns"], s["rows"] * s["columns"], 0
    if kind == "norm":
        return s["elements"], s["elements"], 2 * s["channels"]
    return s.get("reads", 0), s.get("elements", 0), 0
