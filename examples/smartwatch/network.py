"""A residual network of one-dimensional convolutions over windows of a movement sensor."""

import itertools

import torch
from torch import Tensor, nn

CHANNELS = 6  # acceleration and rotation along x, y and z; x runs along the forearm
WIDTHS = (32, 64, 128, 256)  # channels of the stages
KERNEL = 5  # samples
STEM_KERNEL = 9

# What a mirror across the forearm does to acceleration, a vector, and to rotation, a pseudovector.
_MIRROR = ((-1.0, 1.0, 1.0), (1.0, -1.0, -1.0))


class MovementChanges(nn.Module):
    """Random changes of training windows that keep the exercise; in eval mode windows stay as they are."""

    def __init__(self, mirror: bool, turn: float, pace: float) -> None:
        """Prepare the changes.

        Args:
            mirror: half of the windows are those of the other arm.
            turn: standard deviation of a rotation of the sensor about each axis, in radians.
            pace: largest share by which a movement becomes slower; it also becomes weaker or stronger by up to this.
        """
        super().__init__()
        self.mirror, self.turn, self.pace = mirror, turn, pace

    def forward(self, x: Tensor) -> Tensor:
        """Change windows (N, T, 6); the numbers are those of torch's generator."""
        if not self.training:
            return x
        y = x.unflatten(2, (2, 3))  # (N, T, acceleration or rotation, axis)
        if self.mirror:
            other = torch.rand(len(x), 1, 1, 1) < 0.5
            y = torch.where(other, y * torch.tensor(_MIRROR), y)
        if self.turn:
            y = y @ random_rotations(len(x), self.turn)[:, None]
        if self.pace:
            y = slowed(y, 1 - self.pace * torch.rand(len(x)))
            y = y * (1 + self.pace * (2 * torch.rand(len(x), 1, 2, 1) - 1))
        return y.flatten(2)


def random_rotations(n: int, spread: float) -> Tensor:
    """Return rotations (n, 3, 3) about random axes, by angles whose components have this standard deviation."""
    axes = spread * torch.randn(n, 1, 3)
    return torch.linalg.matrix_exp(torch.linalg.cross(axes.expand(n, 3, 3), torch.eye(3).expand(n, 3, 3)))


def slowed(x: Tensor, share: Tensor) -> Tensor:
    """Return windows (N, T, 2, 3) of which a share (N,) in (0, 1], at a random place, fills the whole time.

    Values between samples are interpolated. Rotation is a speed, and falls alike.
    """
    n, length = x.shape[:2]
    first = (1 - share) * torch.rand(n) * (length - 1)
    at = first[:, None] + share[:, None] * torch.arange(length)  # (N, T)
    at = at.clamp(max=length - 1)
    before = at.long().clamp(max=length - 2)
    rows = torch.arange(n)[:, None]
    y = torch.lerp(x[rows, before], x[rows, before + 1], (at - before)[:, :, None, None])
    return torch.stack([y[:, :, 0], y[:, :, 1] * share[:, None, None]], 2)


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

    def __init__(self, classes: int, changes: nn.Module) -> None:
        super().__init__()
        self.changes = changes
        self.standard = nn.BatchNorm1d(CHANNELS, affine=False)  # per channel, because the device gives raw samples
        self.stem = nn.Conv1d(CHANNELS, WIDTHS[0], STEM_KERNEL, 2, STEM_KERNEL // 2)
        self.stages = nn.Sequential(nn.Sequential(Block(WIDTHS[0], WIDTHS[0], 1)))
        for before, after in itertools.pairwise(WIDTHS):
            self.stages.append(nn.Sequential(Block(before, after, 2), Block(after, after, 1)))
        self.classifier = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (N, T, channels) to logits (N, classes)."""
        x = self.changes(x).transpose(1, 2)  # (N, T, C) -> (N, C, T)
        x = torch.relu(self.stem(self.standard(x)))  # (N, C, T) -> (N, 32, T / 2)
        logits: Tensor = self.classifier(self.stages(x).mean(2))  # (N, 256, t) -> (N, 256)
        return logits


def make(mirror: bool = True, turn: float = 0.2, pace: float = 0.2) -> nn.Module:
    """Return the network for seven exercises, as `eetool train network:make` calls it; see `MovementChanges`."""
    return ExerciseNet(7, MovementChanges(mirror, turn, pace))
