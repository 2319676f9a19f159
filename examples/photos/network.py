"""A convolutional network for the photographs, as you might have one: nothing of eetool is in it."""

import itertools

from torch import Tensor, nn

CLASSES = 6
WIDTHS = (16, 32, 64, 96, 128)


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut; the first halves the image."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, inputs, H, W) to (N, outputs, H/2, W/2)."""
        return self.act(self.body(x) + self.shortcut(x))


class SignNet(nn.Module):
    """A stem, four blocks and a classifier of the mean over the image."""

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]
        self.stem = nn.Sequential(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in itertools.pairwise(WIDTHS)))
        self.classifier = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, classes)."""
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def make() -> nn.Module:
    """Return the network with fresh weights."""
    return SignNet()
