"""DenseNet (Huang et al., arXiv 1608.06993): every layer reads the outputs of all earlier layers of its block."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from eetool.model.backbones.layers import initialise

IMAGENET_BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
_CIFAR_GROWTH = 12
_IMAGENET_GROWTH = 32


class DenseNet(nn.Module):
    """Dense blocks with transitions between them.

    Args:
        stem: first layers.
        width: channels of the stem's output.
        blocks: layers per block.
        growth: channels that each layer adds.
        bottleneck: a 1×1 convolution to four times the growth before each 3×3 one (the B of BC).
        compression: ratio of the width after and before a transition (below 1: the C of BC).
        classes: number of classes.
    """

    def __init__(
        self,
        stem: nn.Module,
        width: int,
        blocks: Sequence[int],
        growth: int,
        bottleneck: bool,
        compression: float,
        classes: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential()
        for i, count in enumerate(blocks):
            block = nn.Sequential()
            for _ in range(count):
                block.append(_DenseLayer(width, growth, bottleneck))
                width += growth
            if i < len(blocks) - 1:
                block.append(_Transition(width, int(width * compression)))
                width = int(width * compression)
            self.blocks.append(block)
        self.norm = nn.BatchNorm2d(width)
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = functional.relu(self.norm(self.blocks(self.stem(x))))
        logits: Tensor = self.classifier(x.mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, classes)
        return logits


def cifar_densenet(depth: int, bottleneck_compression: bool, in_channels: int, classes: int) -> DenseNet:
    """Build three blocks with growth 12; `depth` is 3n + 4, or 6n + 4 with bottlenecks and compression."""
    width = 2 * _CIFAR_GROWTH if bottleneck_compression else 16
    stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    layers = (depth - 4) // (6 if bottleneck_compression else 3)
    compression = 0.5 if bottleneck_compression else 1.0
    return DenseNet(stem, width, (layers,) * 3, _CIFAR_GROWTH, bottleneck_compression, compression, classes)


def imagenet_densenet(depth: int, in_channels: int, classes: int, small: bool) -> DenseNet:
    """Build four blocks with growth 32; on `small` images the stem keeps the size."""
    width = 2 * _IMAGENET_GROWTH
    if small:
        stem: nn.Module = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    else:
        stem = _ImageNetStem(in_channels, width)
    return DenseNet(stem, width, IMAGENET_BLOCKS[depth], _IMAGENET_GROWTH, True, 0.5, classes)


class _ImageNetStem(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.relu(self.norm(self.conv(x))), 3, stride=2, padding=1)


class _DenseLayer(nn.Module):
    def __init__(self, in_width: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        inner = 4 * growth if bottleneck else in_width
        self.norm1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, inner, 1, bias=False) if bottleneck else None
        self.norm2 = nn.BatchNorm2d(inner) if bottleneck else None
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, C + growth, H, W)."""
        y = functional.relu(self.norm1(x))
        if self.conv1 is not None and self.norm2 is not None:
            y = functional.relu(self.norm2(self.conv1(y)))
        return torch.cat((x, self.conv2(y)), 1)


class _Transition(nn.Module):
    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_width)
        self.conv = nn.Conv2d(in_width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(x))), 2, ceil_mode=True)
