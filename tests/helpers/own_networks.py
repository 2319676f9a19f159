"""Tiny networks as a user writes them, for images of 1×32×32 and 10 classes."""

import torch
from torch import Tensor, nn


class Small(nn.Module):
    """Two blocks and a classifier; `rate` is no part of the weights."""

    def __init__(self, width: int = 4, rate: float = 1.0) -> None:
        super().__init__()
        sizes = ((1, width), (width, 2 * width))
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, b, 3, 4), nn.BatchNorm2d(b)) for a, b in sizes))
        self.head = nn.Linear(2 * width, 10)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.blocks(x) * self.rate).mean((2, 3)))


class Sized(Small):
    """Network whose constructor needs an argument."""

    def __init__(self, width: int) -> None:
        super().__init__(width)


class WithFeatures(Small):
    """Network that returns features beside its logits."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        features = self.blocks(x)
        return features, self.head(torch.relu(features).mean((2, 3)))


class OwnExits(Small):
    """Network with an exit of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Linear(4, 10)

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        middle = self.blocks[0](x)
        return [self.early(middle.mean((2, 3))), self.head(torch.relu(self.blocks[1](middle)).mean((2, 3)))]


def wide() -> nn.Module:
    """Return a network of another width."""
    return Sized(6)


class WithGelu(nn.Module):
    """Network with an operator that microcontrollers lack."""

    approximate = "none"

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1024, 8)
        self.activation = nn.GELU(self.approximate)
        self.last = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.first(x.flatten(1))))


class WithTanhGelu(WithGelu):
    """The same with the approximation by tanh."""

    approximate = "tanh"
