"""TC-ResNet (Choi et al., arXiv 1904.03814): residual networks of convolutions over time, for spoken words.

The frequency bands of a frame are the channels, so that even a small kernel reads all bands. The convolutions are
two-dimensional with a second size of 1, which every inference engine runs efficiently.
"""

from torch import Tensor, nn
from torch.nn import functional

from eetool.model.backbones.layers import initialise

STAGES = {8: (1, 1, 1), 14: (2, 2, 2)}  # blocks per stage, by layers
_STEM, _WIDTHS = 16, (24, 32, 48)
_KERNEL = 9


class TcResNet(nn.Module):
    """A stem, three stages that halve the time each, and a classifier of the mean over time."""

    def __init__(self, depth: int, bands: int, classes: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(bands, affine=False)  # per band, because the runtime gets raw features
        self.stem = nn.Conv2d(bands, _STEM, (3, 1), padding=(1, 0), bias=False)
        self.stages = nn.Sequential()
        width = _STEM
        for after, blocks in zip(_WIDTHS, STAGES[depth], strict=True):
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(_Block(width, after, 1 if index else 2))
                width = after
            self.stages.append(stage)
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames (N, T, bands) to logits (N, classes)."""
        x = self.standard(x.transpose(1, 2))[..., None]  # (N, T, B) -> (N, B, T) -> (N, B, T, 1)
        logits: Tensor = self.classifier(self.stages(self.stem(x)).mean((2, 3)))  # (N, 48, t, 1) -> (N, 48)
        return logits


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        padding = (_KERNEL // 2, 0)
        self.conv1 = nn.Conv2d(before, after, (_KERNEL, 1), (stride, 1), padding, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, (_KERNEL, 1), 1, padding, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            shorter = nn.Conv2d(before, after, 1, (stride, 1), bias=False)
            self.shortcut = nn.Sequential(shorter, nn.BatchNorm2d(after), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, before, T, 1) to (N, after, T / stride, 1)."""
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
