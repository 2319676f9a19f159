"""Networks for vectors of features: layers of neurons, as many and as wide as the name says."""

from itertools import pairwise

from torch import Tensor, nn

_MOST_WIDE, _MOST_DEEP = 4096, 32


class Mlp(nn.Module):
    """`mlp-WIDTHxDEPTH`: features brought to mean 0 and deviation 1, then layers of equal width, then a classifier."""

    def __init__(self, width: int, depth: int, features: int, classes: int) -> None:
        super().__init__()
        self.standard = nn.BatchNorm1d(features, affine=False)
        sizes = [features, *(width for _ in range(depth))]
        self.layers = nn.Sequential(*(_layer(before, after) for before, after in pairwise(sizes)))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes)."""
        logits: Tensor = self.classifier(self.layers(self.standard(x)))
        return logits


def is_valid_size(width: int, depth: int) -> bool:
    """Whether a network of these sizes is a reasonable one."""
    return 0 < width <= _MOST_WIDE and 0 < depth <= _MOST_DEEP


def _layer(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU())
