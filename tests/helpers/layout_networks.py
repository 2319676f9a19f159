"""Networks whose features have other layouts than (N, C, H, W), as a user would write them."""

import torch
from torch import Tensor, nn

CLASSES, LENGTH = 3, 24
Made = tuple[nn.Module, dict[str, Tensor]]


class _Blocks(nn.Module):
    """Three blocks, and a classifier of the mean over positions."""

    def __init__(self, blocks: list[nn.Module], channels_last: bool = False) -> None:
        super().__init__()
        self.blocks, self.classifier, self.last = nn.ModuleList(blocks), nn.Linear(8, CLASSES), channels_last

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1) if self.last else x
        for block in self.blocks:
            x = block(x)
        x = x.movedim(-1, 1) if self.last else x
        return self.classifier(x.flatten(2).mean(2))


def waves() -> Made:
    """Convolutions over time, (N, C, L)."""
    blocks = [nn.Sequential(nn.Conv1d(n, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU()) for n in (3, 8, 8)]
    return _Blocks(blocks), {"x": torch.zeros(1, 3, LENGTH)}


def columns() -> Made:
    """The same as images of one column, (N, C, L, 1)."""
    convolutions = [nn.Conv2d(n, 8, (3, 1), padding=(1, 0)) for n in (3, 8, 8)]
    blocks = [nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU()) for convolution in convolutions]
    return _Blocks([nn.Sequential(nn.Unflatten(2, (LENGTH, 1)), *blocks[0]), *blocks[1:]]), waves()[1]


def images() -> Made:
    """As many channels as rows, (N, 8, 8, 12)."""
    blocks = [nn.Sequential(nn.Conv2d(n, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for n in (3, 8, 8)]
    return _Blocks(blocks), {"x": torch.zeros(1, 3, 8, 12)}


def pixels() -> Made:
    """Channels last, with more columns than rows, (N, 8, 12, C)."""
    blocks = [nn.Sequential(nn.Linear(n, 8), nn.ReLU()) for n in (3, 8, 8)]
    return _Blocks(blocks, channels_last=True), images()[1]


def volumes() -> Made:
    """Convolutions over volumes, (N, C, D, H, W)."""
    blocks = [nn.Sequential(nn.Conv3d(n, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU()) for n in (3, 8, 8)]
    return _Blocks(blocks), {"x": torch.zeros(1, 3, 4, 3, 5)}


class _TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classifier = nn.Linear(3, 8), nn.Linear(8, CLASSES)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.permute(2, 0, 1))  # (N, C, L) -> (L, N, C)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(0))


def time_first() -> Made:
    """torch's transformer in its default layout, (L, N, C)."""
    return _TimeFirst(), waves()[1]


def unclear() -> Made:
    """The tap `0` could be anything: nothing but an element-wise function, and a product with all features."""
    layers = (nn.Tanh(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    return nn.Sequential(*layers), {"x": torch.zeros(1, 4, 6)}
