"""MobileNetV2 (Sandler et al., arXiv 1801.04381) and MobileNetV3 (Howard et al., arXiv 1905.02244), width 1.0.

On images of CIFAR's size the first two downsamplings are skipped, as usual. `mbv3-…` is a MobileNetV3 of any widths,
depths, kernels, expansions and strides, as searches construct it.
"""

import re
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from eetool.model.backbones.layers import ConvNorm, initialise, round_to_multiple

# Table 2 of the first paper: expansion, width, repeats, stride.
_V2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
# Tables 1 and 2 of the second: kernel, expanded width, width, squeeze-and-excite, h-swish, stride.
_V3 = {
    "large": (
        *((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2)),
        *((5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1)),
        *((3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1)),
        *((5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
    ),
    "small": (
        *((3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2)),
        *((5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1)),
        *((5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1)),
    ),
}
_V3_CLASSIFIER = {"large": 1280, "small": 1024}


@dataclass(frozen=True)
class Row:
    """One inverted residual."""

    size: int
    expanded: int
    width: int
    squeeze: bool
    activation: type[nn.Module]
    stride: int


class MobileNet(nn.Module):
    """A stem, inverted residuals, a 1×1 convolution, global pooling and a classifier.

    Args:
        stem: first convolution.
        rows: inverted residuals.
        last: last convolution.
        classifier: of the pooled features.

    Attributes:
        of_tensorflow: see `ConvNorm`.
    """

    of_tensorflow = False

    def __init__(self, stem: ConvNorm, rows: list[Row], last: ConvNorm, classifier: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential()
        width = stem.conv.out_channels
        for row in rows:
            self.blocks.append(InvertedResidual(width, row, self.of_tensorflow))
            width = row.width
        self.last = last
        self.classifier = classifier
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.last(self.blocks(self.stem(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, classes)
        return logits


class MobileNetV2(MobileNet):
    """The network of the first paper."""


class MobileNetV3(MobileNet):
    """The networks of the second paper."""


def mobilenet_v2(in_channels: int, classes: int, small: bool) -> MobileNetV2:
    """MobileNetV2; at 224×224 and 1000 classes 3.50 M parameters."""
    rows, width = [], 32
    for expansion, out, repeats, stride in _V2:
        for i in range(repeats):
            rows.append(Row(3, expansion * width, out, False, nn.ReLU6, stride if i == 0 else 1))
            width = out
    stem = ConvNorm(in_channels, 32, stride=2, activation=nn.ReLU6)
    classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))
    return MobileNetV2(
        *at_size(stem, rows, small), ConvNorm(width, 1280, 1, activation=nn.ReLU6), Classifier(classifier)
    )


def mobilenet_v3(kind: str, in_channels: int, classes: int, small: bool) -> MobileNetV3:
    """MobileNetV3 `large` or `small`; at 224×224 and 1000 classes 5.48 and 2.54 M parameters."""
    rows = [
        Row(size, expanded, width, bool(squeeze), nn.Hardswish if swish else nn.ReLU, stride)
        for size, expanded, width, squeeze, swish, stride in _V3[kind]
    ]
    last_width = 6 * rows[-1].width
    hidden = _V3_CLASSIFIER[kind]
    stem = ConvNorm(in_channels, 16, stride=2, activation=nn.Hardswish)
    last = ConvNorm(rows[-1].width, last_width, 1, activation=nn.Hardswish)
    classifier = nn.Sequential(
        nn.Linear(last_width, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, classes)
    )
    return MobileNetV3(*at_size(stem, rows, small), last, Classifier(classifier))


def at_size(stem: ConvNorm, rows: list[Row], small: bool) -> tuple[ConvNorm, list[Row]]:
    """Remove the first two downsamplings for small images."""
    if not small:
        return stem, rows
    stem.conv.stride = (1, 1)
    first = next(i for i, row in enumerate(rows) if row.stride == 2)
    return stem, [*rows[:first], replace(rows[first], stride=1), *rows[first + 1 :]]


_STAGE = r"-[1-9][0-9]{0,3}[rh]s?[12](?:\.[357]e[1-9])+"
STAGED = rf"mbv3-([1-9][0-9]{{0,3}})x([12])((?:{_STAGE})+)-([1-9][0-9]{{0,3}})x([1-9][0-9]{{0,3}})"


class StagedMobileNet(nn.Module):
    """MobileNetV3 with blocks in stages, `stage0.0`, …, so that a shallower network has the same names."""

    def __init__(self, stem: ConvNorm, stages: list[list[Row]], last_width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.stem = stem
        self.stages = [f"stage{i}" for i in range(len(stages))]
        width = stem.conv.out_channels
        for name, rows in zip(self.stages, stages, strict=True):
            blocks = nn.Sequential()
            for row in rows:
                blocks.append(InvertedResidual(width, row))
                width = row.width
            self.add_module(name, blocks)
        self.last = ConvNorm(width, last_width, 1, activation=nn.Hardswish)
        hidden_layer = nn.Linear(last_width, hidden)
        self.classifier = Classifier(
            nn.Sequential(hidden_layer, nn.Hardswish(), nn.Dropout(0.1), nn.Linear(hidden, classes))
        )
        initialise(self)
        nn.init.kaiming_normal_(hidden_layer.weight)  # with small weights narrow networks hardly train

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.classifier(self.last(x).mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, classes)
        return logits


def staged_mobilenet(match: re.Match[str], in_channels: int, classes: int) -> StagedMobileNet:
    """Build the network of a name that matches `STAGED`, such as `mbv3-16x2-24r1.3e3.5e4-40hs2.5e6.3e4-288x256`.

    The name begins with width and stride of the stem. Each stage follows with its width, `r` for ReLU or `h` for
    h-swish, `s` for squeeze-and-excite, its stride, and kernel and expansion of every block. The widths of the two
    last layers are at the end.
    """
    stem = ConvNorm(in_channels, int(match[1]), stride=int(match[2]), activation=nn.Hardswish)
    width, stages = int(match[1]), []
    for text in match[3].split("-")[1:]:
        prefix, *blocks = text.split(".")
        out, activation = int(re.split("[rh]", prefix)[0]), nn.Hardswish if "h" in prefix else nn.ReLU
        rows = []
        for i, (size, _, expansion) in enumerate(blocks):
            expanded = round_to_multiple(width * int(expansion))
            rows.append(Row(int(size), expanded, out, "s" in prefix, activation, int(prefix[-1]) if i == 0 else 1))
            width = out
        stages.append(rows)
    return StagedMobileNet(stem, stages, int(match[4]), int(match[5]), classes)


class Classifier(nn.Module):
    """The classifier as one block, so that no exit is placed inside it."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Map pooled features (N, C) to logits (N, classes)."""
        y: Tensor = self.layers(x)
        return y


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-and-excite and projection, with a shortcut where shapes agree."""

    def __init__(self, in_width: int, row: Row, of_tensorflow: bool = False) -> None:
        super().__init__()
        conv = partial(ConvNorm, of_tensorflow=of_tensorflow)
        wider = row.expanded != in_width
        self.expand = conv(in_width, row.expanded, 1, activation=row.activation) if wider else nn.Identity()
        self.depthwise = conv(
            row.expanded, row.expanded, row.size, row.stride, groups=row.expanded, activation=row.activation
        )
        self.squeeze = _SqueezeExcite(row.expanded) if row.squeeze else nn.Identity()
        self.project = conv(row.expanded, row.width, 1, activation=nn.Identity)
        self.residual = row.stride == 1 and in_width == row.width

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, width, H / stride, W / stride)."""
        y: Tensor = self.project(self.squeeze(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = round_to_multiple(width / 4)
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, inner, 1), nn.ReLU(), nn.Conv2d(inner, width, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.layers(x)  # (N, C, H, W) × (N, C, 1, 1)
        return y
