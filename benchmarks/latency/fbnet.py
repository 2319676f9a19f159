"""Blocks of FBNet (Wu et al., 2019, arXiv 1812.03443) on a Raspberry Pi 4 and a Pixel 3, from HW-NAS-Bench.

The networks of the data are sums of these blocks, so they show nothing about adding blocks up. A block, however, was
measured: expansion (1×1), depthwise convolution, projection (1×1), and a sum where the block has a residual. Figures
are relative to skipping the layer, which is free where nothing changes its size, else a 1×1 convolution.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.latency.kernels.kernel import Kernel

# Blocks, channels and stride of each stage for CIFAR-100, after a stem with 16 channels at 32 × 32.
STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
STEM_CHANNELS, SIZE = 16, 32
GROUPED = "_g2"  # blocks with grouped 1×1 convolutions and a shuffle are left out
SKIP = "skip"


@dataclass(frozen=True)
class Layer:
    """Place of a block: its channels, the size of its input, and its stride."""

    inner: int
    out: int
    size: int
    stride: int

    @property
    def keeps_size(self) -> bool:
        """True where input and output have the same sizes, so that skipping the layer is free."""
        return self.inner == self.out and self.stride == 1

    @property
    def skipped(self) -> list[Kernel]:
        """Kernels that run in place of the block where the layer is skipped."""
        return [] if self.keeps_size else [pointwise(self.inner, self.out, self.size, self.stride)]


@dataclass(frozen=True)
class Block:
    """A measured block: its kernels, and those of skipping it, to which its milliseconds are relative."""

    layer: Layer
    expansion: int
    window: int
    ms: float

    @property
    def kernels(self) -> list[Kernel]:
        """Kernels of the block."""
        at, middle = self.layer, self.layer.inner * self.expansion
        out_size = at.size // at.stride
        sizes = {"channels": middle, "height": at.size, "width": at.size, "kernel": self.window, "stride": at.stride}
        kernels = [
            pointwise(at.inner, middle, at.size),
            Kernel("depthwise", sizes),
            pointwise(middle, at.out, out_size),
        ]
        if at.keeps_size:
            elements = at.out * out_size**2
            kernels.append(Kernel("elementwise", {"elements": elements, "reads": 2 * elements}))
        return kernels


def pointwise(inner: int, out: int, size: int, stride: int = 1) -> Kernel:
    """Return a 1×1 convolution of a square input."""
    shape = {"in_channels": inner, "out_channels": out, "height": size, "width": size, "kernel": 1, "stride": stride}
    return Kernel("conv", shape)


def read_blocks(folder: Path, board: str) -> list[Block]:
    """Read the blocks without groups of `raspi4` or `pixel3`, each size once."""
    data = np.load(folder / "fbnet_raspi4_latency.npz", allow_pickle=False)
    names = [str(name) for name in data["op_names"]]
    # The sums are exact, so least squares gives the table of a board that the file does not list.
    table = data["lut_delta_ms"] if board == "raspi4" else _relative_to_skip(data["op_idx"], data[f"{board}_ms"], names)
    blocks: dict[tuple[Layer, str], Block] = {}
    for layer, row in zip(_layers(), table, strict=True):
        for name, ms in zip(names, row, strict=True):
            if name != SKIP and GROUPED not in name:
                window, expansion = (int(part[1:]) for part in name.split("_"))
                blocks.setdefault((layer, name), Block(layer, expansion, window, float(ms)))
    return list(blocks.values())


def _layers() -> list[Layer]:
    layers, inner, size = [], STEM_CHANNELS, SIZE
    for count, out, stride in STAGES:
        for index in range(count):
            layers.append(Layer(inner, out, size, stride if index == 0 else 1))
            inner, size = out, size // layers[-1].stride
    return layers


def _relative_to_skip(chosen: np.ndarray, ms: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the table (layers, operations) behind sums `ms` (n,) over `chosen` operations (n, layers)."""
    layers, operations = chosen.shape[1], len(names)
    one_hot = np.zeros((len(ms), layers, operations))
    np.put_along_axis(one_hot, chosen[:, :, None].astype(int), 1.0, axis=2)
    others = [index for index, name in enumerate(names) if name != SKIP]
    columns = np.hstack([one_hot[:, :, others].reshape(len(ms), -1), np.ones((len(ms), 1))])
    solved, *_ = np.linalg.lstsq(columns, ms, rcond=None)
    table = np.zeros((layers, operations))
    table[:, others] = solved[:-1].reshape(layers, -1)
    return table
