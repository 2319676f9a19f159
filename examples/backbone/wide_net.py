"""A network of a project: a plain module without exits."""

import torch
from torch import nn


class Block(nn.Module):
    """Depthwise and pointwise convolution, with a shortcut where the shapes allow one."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)
        self.shortcut = channels_in == channels_out and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, channels_out, H / stride, W / stride) for `x` (N, channels_in, H, W)."""
        y = self.norm(self.pointwise(self.depthwise(x)))
        return torch.relu(x + y if self.shortcut else y)


class WideNet(nn.Module):
    """Six blocks between a convolution and a classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 24, 3, 2, 1)
        sizes = ((24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 96, 1))
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.head = nn.Linear(96, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for `x` (N, 1, 32, 32)."""
        return self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))


def make() -> nn.Module:
    """Return the network of the reference `wide_net:make`."""
    return WideNet()
