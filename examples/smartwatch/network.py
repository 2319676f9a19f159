"""A residual network of one-dimensional convolutions over windows of a movement sensor."""

import itertools

import torch
from torch import Tensor, nn

CHANNELS = 6  # acceleration and rotation
WIDTHS = (32, 64, 128, 256)  # channels of the stages
KERNEL = 5  # samples


class Block(nn.Module):
    """Two convolutions with a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(before, after, KERNEL, stride, KERNEL // 2, bias=False)
        self.norm1 = nn.BatchNorm1d(after)
        self.conv2 = nn.Conv1d(after, after, KERNEL, 1, KERNEL // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(after)
        same = stride == 1 and before == after
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv1d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, before, T) to (N, after, T / stride)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ExerciseNet(nn.Module):
    """A stem, a thin stage for the first exit, three wider stages, and a classifier of the mean over time."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(CHANNELS, affine=False)  # per channel, because the device gives raw samples
        self.stem = nn.Conv1d(CHANNELS, WIDTHS[0], KERNEL, 2, KERNEL // 2)
        self.stages = nn.Sequential(nn.Sequential(Block(WIDTHS[0], WIDTHS[0], 1)))
        for before, after in itertools.pairwise(WIDTHS):
            self.stages.append(nn.Sequential(Block(before, after, 2), Block(after, after, 1)))
        self.classifier = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (N, T, channels) to logits (N, classes)."""
        x = torch.relu(self.stem(self.standard(x.transpose(1, 2))))  # (N, T, C) -> (N, C, T) -> (N, 32, T / 2)
        logits: Tensor = self.classifier(self.stages(x).mean(2))  # (N, 256, t) -> (N, 256)
        return logits


def make() -> nn.Module:
    """Return the network for seven exercises, as `eetool train network:make` calls it."""
    return ExerciseNet(7)
