"""Multilayer perceptrons for vectors of features."""

from itertools import pairwise

from torch import Tensor, nn

_MAX_WIDTH, _MAX_DEPTH = 4096, 32


class Mlp(nn.Module):
    """`mlp-WIDTHxDEPTH`: standardised features, layers of equal width, and a classifier."""

    def __init__(self, width: int, depth: int, features: int, classes: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(features, affine=False)
        sizes = [features, *(width for _ in range(depth))]
        self.layers = nn.Sequential(*(_layer(before, after) for before, after in pairwise(sizes)))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, D) to logits (N, classes)."""
        logits: Tensor = self.classifier(self.layers(self.standard(x)))
        return logits


def is_valid_size(width: int, depth: int) -> bool:
    """Return True for sizes within the limits."""
    return 0 < width <= _MAX_WIDTH and 0 < depth <= _MAX_DEPTH


def _layer(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU())
