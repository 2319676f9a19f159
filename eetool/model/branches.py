"""Exit branches: the layers between a tap and its logits, written as a short text.

`max2,conv3-64` is a 2×2 max-pool, then a 3×3 convolution to 64 channels. Global pooling and a linear classifier always
follow, and `linear` has only these. On tokens `linear` takes their mean, and `cls` takes the class token, which is the
first. Both begin with a layer normalisation, which intermediate features of transformers lack. The alphabet of
convolutions follows the searched branches of AEBNAS (arXiv 2512.10671); the paper's list of widths and layers is not
public.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eetool.errors import UsageError

ALPHABET = ("conv1", "conv3", "sep3", "sep5", "max2", "avg2")
MAX_DEPTH = 6
DEFAULT_BRANCH = "max2,conv3-32,max2,conv3-64"
LINEAR = "linear"
CLASS_TOKEN = "cls"

_TOKEN = re.compile(r"(?:(conv1|conv3|sep3|sep5)-([1-9][0-9]{0,3})|(max2|avg2))")


@dataclass(frozen=True)
class Layer:
    """One layer of the alphabet; `width` is its number of output channels, None for pooling."""

    kind: str
    width: int | None


@dataclass(frozen=True)
class BranchSpec:
    """Layers of a branch before pooling and classifier; with `class_token` the first token replaces the mean."""

    layers: tuple[Layer, ...]
    class_token: bool = False

    @classmethod
    def parse(cls, text: str) -> "BranchSpec":
        """Parse a text such as `max2,conv3-64`; raises UsageError for layers outside the alphabet."""
        if text == LINEAR:
            return cls(())
        if text == CLASS_TOKEN:
            return cls((), class_token=True)
        layers = []
        for token in text.split(","):
            match = _TOKEN.fullmatch(token)
            if match is None:
                raise UsageError(
                    f"unknown branch layer {token!r} in {text!r}",
                    f"Write {LINEAR}, {CLASS_TOKEN}, or up to {MAX_DEPTH} of {', '.join(ALPHABET)}, as in conv3-64.",
                )
            kind, width, pool = match.groups()
            layers.append(Layer(kind or pool, int(width) if width else None))
        if len(layers) > MAX_DEPTH:
            raise UsageError(f"branch {text!r} has {len(layers)} layers; at most {MAX_DEPTH} are allowed")
        return cls(tuple(layers))

    def __str__(self) -> str:
        if self.class_token:
            return CLASS_TOKEN
        return ",".join(f"{x.kind}-{x.width}" if x.width else x.kind for x in self.layers) or LINEAR


class Branch(nn.Module):
    """Classifier on the features at a tap.

    Features are (N, C, H, W) or channels last (see `is_channels_last`), tokens (N, T, D), or (N, D). Convolutions need
    one of the first two, and a class token needs tokens.

    Args:
        spec: layers before pooling and classifier.
        feature_shape: shape of the features, with a batch dimension.
        classes: number of classes.
        learned_confidence: add a second head that gives the confidence of the exit.
        reads_answer: let the classifier read the probabilities of the exit before (the cascade connections of Zero
            Time Waste, arXiv 2106.05409).
    """

    def __init__(
        self,
        spec: BranchSpec,
        feature_shape: tuple[int, ...],
        classes: int,
        learned_confidence: bool = False,
        reads_answer: bool = False,
    ) -> None:
        super().__init__()
        self.rank = len(feature_shape)
        if self.rank not in (2, 3, 4):
            raise UsageError(f"no branch fits features of shape {feature_shape}", "Choose another tap.")
        if spec.layers and self.rank != 4:
            raise UsageError(
                f"branch {spec} needs (N, C, H, W); this tap gives {feature_shape}", "Use --branch linear."
            )
        if spec.class_token and self.rank != 3:
            raise UsageError(
                f"branch {spec} needs tokens (N, T, D); this tap gives {feature_shape}", "Use --branch linear."
            )
        self.class_token = spec.class_token
        self.channels_last = is_channels_last(feature_shape)
        width = feature_shape[1] if self.rank == 4 and not self.channels_last else feature_shape[-1]
        layers: list[nn.Module] = [nn.LayerNorm(width)] if self.rank == 3 else []
        for layer in spec.layers:
            layers.append(_build(layer, width))
            width = layer.width or width
        self.layers = nn.Sequential(*layers)
        self.reads_answer = reads_answer
        self.classifier = nn.Linear(width + classes * reads_answer, classes)
        self.confidence = nn.Linear(width, 1) if learned_confidence else None

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, H, W), (N, T, D) or (N, D) to logits (N, classes)."""
        return self.forward_with_confidence(features)[0]

    def forward_with_confidence(self, features: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return logits (N, classes), and confidence logits (N,) where there is a head for them.

        Args:
            features: output of the tap.
            before: logits (N, classes) of the exit before, for a branch that reads them; zeros where not given.
        """
        if self.class_token:
            features = features[:, :1]  # (N, T, D) -> (N, 1, D)
        x = features.permute(0, 3, 1, 2) if self.channels_last else features  # (N, H, W, C) -> (N, C, H, W)
        x = self.layers(x)
        if self.rank == 4:
            x = x.mean((2, 3))  # (N, C, H, W) -> (N, C)
        elif self.rank == 3:
            x = x.mean(1)  # (N, T, D) -> (N, D)
        confidence = None if self.confidence is None else self.confidence(x)[:, 0]
        if self.reads_answer:
            before = x.new_zeros(len(x), self.classifier.out_features) if before is None else before
            x = torch.cat((x, torch.softmax(before, 1)), 1)  # (N, C), (N, classes) -> (N, C + classes)
        return self.classifier(x), confidence


def is_channels_last(feature_shape: tuple[int, ...]) -> bool:
    """Return True for features (N, H, W, C), as in some transformers: equal sizes in front, and another one last."""
    if len(feature_shape) != 4 or feature_shape[3] == 1:  # a last size of 1 is a width, since layers have more channels
        return False
    return feature_shape[1] == feature_shape[2] != feature_shape[3]


def default_branch(feature_shape: tuple[int, ...], class_token: bool) -> str:
    """Return the default branch for features of this shape."""
    if len(feature_shape) == 4:
        return DEFAULT_BRANCH
    return CLASS_TOKEN if class_token and len(feature_shape) == 3 else LINEAR


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
