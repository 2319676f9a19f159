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
from eetool.model.layouts import TOKENS, check_layout, to_canonical, usual_layout

ALPHABET = ("conv1", "conv3", "sep3", "sep5", "max2", "avg2")
MAX_DEPTH = 6
DEFAULT_BRANCH = "max2,conv3-32,max2,conv3-64"
LINEAR = "linear"
CLASS_TOKEN = "cls"
_CONVOLVED = ("NCL", "NCHW", "NHWC")  # layouts whose default branch has convolutions
# By number of positions: convolution, normalisation, and both poolings.
_MODULES: dict[int, tuple[type[nn.Module], type[nn.Module], type[nn.Module], type[nn.Module]]] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d),
}

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

    Convolutions need positions that are no tokens, and a class token needs tokens.

    Args:
        spec: layers before pooling and classifier.
        feature_shape: shape of the features, with a batch dimension.
        classes: number of classes.
        learned_confidence: add a second head that gives the confidence of the exit.
        reads_answer: let the classifier read the probabilities of the exit before (the cascade connections of Zero
            Time Waste, arXiv 2106.05409).
        layout: order of the axes of the features, see `eetool.model.layouts`; None for the most common one.
    """

    def __init__(
        self,
        spec: BranchSpec,
        feature_shape: tuple[int, ...],
        classes: int,
        learned_confidence: bool = False,
        reads_answer: bool = False,
        layout: str | None = None,
    ) -> None:
        super().__init__()
        layout = usual_layout(feature_shape) if layout is None else layout
        check_layout(layout, feature_shape, "a tap")
        self.tokens = layout in TOKENS
        positions = 0 if self.tokens else len(layout) - 2
        if spec.layers and not positions:
            raise UsageError(
                f"branch {spec} needs features such as (N, C, H, W) or (N, C, L); this tap gives {layout} "
                f"{feature_shape}",
                f"The branch {LINEAR} fits there.",
            )
        if spec.class_token and not self.tokens:
            raise UsageError(
                f"branch {spec} needs tokens (N, T, D); this tap gives {layout} {feature_shape}",
                f"The branch {LINEAR} fits there.",
            )
        self.class_token = spec.class_token
        self.order = to_canonical(layout)
        width = feature_shape[layout.index("C")]
        layers: list[nn.Module] = [nn.LayerNorm(width)] if self.tokens else []
        for layer in spec.layers:
            layers.append(_build(layer, width, positions))
            width = layer.width or width
        self.layers = nn.Sequential(*layers)
        pooled = [layer.width is None for layer in spec.layers]
        self._leading = pooled.index(False) if False in pooled else len(pooled)
        self.reads_answer = reads_answer
        self.classifier = nn.Linear(width + classes * reads_answer, classes)
        self.confidence = nn.Linear(width, 1) if learned_confidence else None

    def forward(self, features: Tensor) -> Tensor:
        """Map features to logits (N, classes)."""
        return self.forward_with_confidence(features)[0]

    def forward_with_confidence(self, features: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return logits (N, classes), and confidence logits (N,) where there is a head for them.

        Args:
            features: output of the tap.
            before: logits (N, classes) of the exit before, for a branch that reads them; zeros where not given.
        """
        return self._classify(self.layers(self._arrange(features)), before)

    @property
    def reduction(self) -> str:
        """Operations of `reduce`, by name: equal names at one tap give equal tensors."""
        pools = [type(self.layers[i]).__name__ for i in range(self._leading)]
        whole = not self.tokens and self._leading == len(self.layers)
        names = [str(self.order), "first" * self.class_token, *pools, "mean" * whole]
        return " ".join(name for name in names if name)

    def reduce(self, features: Tensor) -> Tensor:
        """Return what `forward_from_reduced` reads: the result of the leading operations that have no weights.

        It is smaller than the features, so that it can be kept for a training of the branch alone.
        """
        x = self._arrange(features)
        for layer in list(self.layers)[: self._leading]:
            x = layer(x)
        return self._pool(x) if not self.tokens and self._leading == len(self.layers) else x

    def forward_from_reduced(self, reduced: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what `forward_with_confidence` does, from the result of `reduce`."""
        x = reduced
        for layer in list(self.layers)[self._leading :]:
            x = layer(x)
        return self._classify(x, before)

    def _arrange(self, features: Tensor) -> Tensor:
        """Return the features in the order (N, C, …) or (N, T, D), of a class token alone (N, 1, D)."""
        x = features if self.order == tuple(range(features.ndim)) else features.permute(self.order)
        return x[:, :1] if self.class_token else x

    def _pool(self, x: Tensor) -> Tensor:
        """Return the mean over positions (N, C)."""
        if self.tokens:
            return x.mean(1)  # (N, T, D) -> (N, D)
        return x.mean(tuple(range(2, x.ndim))) if x.ndim > 2 else x  # (N, C, …) -> (N, C)

    def _classify(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = self._pool(x)
        confidence = None if self.confidence is None else self.confidence(x)[:, 0]
        if self.reads_answer:
            before = x.new_zeros(len(x), self.classifier.out_features) if before is None else before
            x = torch.cat((x, torch.softmax(before, 1)), 1)  # (N, C), (N, classes) -> (N, C + classes)
        return self.classifier(x), confidence


def pool_positions(features: Tensor, layout: str) -> Tensor:
    """Return the mean over positions, (N, C), of features with this layout."""
    positions = tuple(axis for axis, letter in enumerate(layout) if letter not in "NC")
    return features.mean(positions) if positions else features


def default_branch(layout: str, class_token: bool) -> str:
    """Return the default branch for features of this layout."""
    if layout in _CONVOLVED:
        return DEFAULT_BRANCH
    return CLASS_TOKEN if class_token and layout in TOKENS else LINEAR


def _build(layer: Layer, width: int, positions: int) -> nn.Module:
    """Build one layer over 1, 2 or 3 dimensions."""
    convolution, norm, largest, average = _MODULES[positions]
    if layer.kind == "max2":
        return largest(2, ceil_mode=True)
    if layer.kind == "avg2":
        return average(2, ceil_mode=True)
    assert layer.width is not None
    size = int(layer.kind[-1])
    if layer.kind.startswith("sep"):
        return nn.Sequential(
            convolution(width, width, size, padding=size // 2, groups=width, bias=False),
            norm(width),
            nn.ReLU(),
            convolution(width, layer.width, 1, bias=False),
            norm(layer.width),
            nn.ReLU(),
        )
    return nn.Sequential(
        convolution(width, layer.width, size, padding=size // 2, bias=False),
        norm(layer.width),
        nn.ReLU(),
    )
