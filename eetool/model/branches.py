"""Exit branches: the layers between a tap and its logits, written as a short text.

`max2,conv3-64` is a 2×2 max-pool, then a 3×3 convolution to 64 channels; global pooling and a linear classifier
always follow, and `linear` is nothing but these. The alphabet follows what searched branches are made of
(AEBNAS, arXiv 2512.10671; widths and layers are our choice, the paper's own list is not public).
"""

import re
from dataclasses import dataclass

from torch import Tensor, nn

from eetool.errors import UsageError

ALPHABET = ("conv1", "conv3", "sep3", "sep5", "max2", "avg2")
MAX_DEPTH = 6
DEFAULT = "max2,conv3-32,max2,conv3-64"
LINEAR = "linear"

_TOKEN = re.compile(r"(?:(conv1|conv3|sep3|sep5)-([1-9][0-9]{0,3})|(max2|avg2))")


@dataclass(frozen=True)
class Layer:
    """One letter of the alphabet; `width` is its output channels, null for pooling."""

    kind: str
    width: int | None


@dataclass(frozen=True)
class BranchSpec:
    """Layers of a branch before global pooling and the classifier."""

    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, text: str) -> "BranchSpec":
        """`max2,conv3-64` to a spec; raises UsageError for letters outside the alphabet."""
        if text == LINEAR:
            return cls(())
        layers = []
        for token in text.split(","):
            match = _TOKEN.fullmatch(token)
            if match is None:
                raise UsageError(
                    f"unknown branch layer {token!r} in {text!r}",
                    f"Write {LINEAR}, or up to {MAX_DEPTH} of {', '.join(ALPHABET)}; convolutions as conv3-64.",
                )
            kind, width, pool = match.groups()
            layers.append(Layer(kind or pool, int(width) if width else None))
        if len(layers) > MAX_DEPTH:
            raise UsageError(f"branch {text!r} has {len(layers)} layers; at most {MAX_DEPTH} are allowed")
        return cls(tuple(layers))

    def __str__(self) -> str:
        return ",".join(f"{x.kind}-{x.width}" if x.width else x.kind for x in self.layers) or LINEAR


class Branch(nn.Module):
    """Features at a tap to class logits.

    Features may be (N, C, H, W), tokens (N, T, D), whose mean is taken, or (N, D). Only the first fit convolutions.
    """

    def __init__(self, spec: BranchSpec, feature_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.rank = len(feature_shape)
        if self.rank not in (2, 3, 4):
            raise UsageError(f"no branch fits features of shape {feature_shape}", "Choose another tap.")
        if spec.layers and self.rank != 4:
            raise UsageError(
                f"branch {spec} needs (N, C, H, W); this tap gives {feature_shape}", "Use --branch linear."
            )
        width = feature_shape[1] if self.rank == 4 else feature_shape[-1]
        layers: list[nn.Module] = []
        for layer in spec.layers:
            layers.append(_build(layer, width))
            width = layer.width or width
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W), (N, T, D) or (N, D) -> logits (N, classes)."""
        x = self.layers(features)
        if self.rank == 4:
            x = x.mean((2, 3))  # (N, C, H, W) -> (N, C)
        elif self.rank == 3:
            x = x.mean(1)  # (N, T, D) -> (N, D)
        logits: Tensor = self.classifier(x)
        return logits


def _build(layer: Layer, width: int) -> nn.Module:
    if layer.kind == "max2":
        return nn.MaxPool2d(2, ceil_mode=True)
    if layer.kind == "avg2":
        return nn.AvgPool2d(2, ceil_mode=True)
    assert layer.width is not None
    size = int(layer.kind[-1])
    if layer.kind.startswith("sep"):
        return nn.Sequential(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, layer.width, 1, bias=False),
            nn.BatchNorm2d(layer.width),
            nn.ReLU(),
        )
    return nn.Sequential(
        nn.Conv2d(width, layer.width, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(layer.width),
        nn.ReLU(),
    )
