"""Published architectures that no probe was made after, written from their papers, at the sizes that they are used at.

Weights are random, because they do not change the time. `NETWORKS` has a maker for each of 40 networks.
"""

from collections.abc import Callable
from functools import partial

import torch
from foreign_parts import (
    ConvAct,
    ConvNeXtBlock,
    GatedChannels,
    GhostBlock,
    InvertedBottleneck,
    MixerBlock,
    PoolFormerBlock,
    PreActivationBlock,
    RegNetBlock,
    ResidualBlock,
    ShuffleBlock,
    TransformerBlock,
    classifier,
)
from torch import Tensor, nn

Maker = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
_CLASSES = 1000


def _round8(width: float) -> int:
    return max(8, int(width + 4) // 8 * 8)


def mobilenet_v1(width: float) -> nn.Module:
    """MobileNetV1 (arXiv 1704.04861)."""
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    channels = _round8(32 * width)
    layers: list[nn.Module] = [ConvAct(3, channels, 3, 2)]
    for out, stride in plan:
        wide = _round8(out * width)
        layers += [ConvAct(channels, channels, 3, stride, channels), ConvAct(channels, wide, 1)]
        channels = wide
    return nn.Sequential(*layers, classifier(channels, _CLASSES))


def inverted_network(
    plan: list[tuple[int, int, int, int, int]], stem: int, last: int, act: type[nn.Module], gate: bool = False
) -> nn.Module:
    """Network of inverted bottlenecks; each row of `plan` is expansion, channels, count, stride, window."""
    layers: list[nn.Module] = [ConvAct(3, stem, 3, 2, act=act)]
    channels = stem
    for expansion, out, count, stride, window in plan:
        for index in range(count):
            step = stride if index == 0 else 1
            layers.append(InvertedBottleneck(channels, out, expansion, step, window, act, gate))
            channels = out
    return nn.Sequential(*layers, ConvAct(channels, last, 1, act=act), classifier(last, _CLASSES))


def mobilenet_v2(width: float) -> nn.Module:
    """MobileNetV2 (arXiv 1801.04381)."""
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    plan = [(t, _round8(c * width), n, s, 3) for t, c, n, s in rows]
    return inverted_network(plan, _round8(32 * width), _round8(1280 * max(1.0, width)), nn.ReLU6)


def efficientnet_lite(depth: float, width: float) -> nn.Module:
    """EfficientNet-Lite, which is EfficientNet (arXiv 1905.11946) with ReLU6 and without gates."""
    rows = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
    ]
    rows += [(6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]
    plan = [
        (t, _round8(c * width), n if index in (0, len(rows) - 1) else round(n * depth + 0.49), s, k)
        for index, (t, c, n, s, k) in enumerate(rows)
    ]
    return inverted_network(plan, 32, 1280, nn.ReLU6)


def mnasnet_gated(width: float) -> nn.Module:
    """MnasNet-like rows (arXiv 1807.11626) with gated channels and hard-swish, as MobileNetV3 (arXiv 1905.02244)."""
    rows = [
        (1, 16, 1, 2, 3),
        (4, 24, 2, 2, 3),
        (3, 40, 3, 2, 5),
        (6, 80, 2, 2, 3),
        (6, 112, 2, 1, 5),
        (6, 160, 2, 1, 5),
    ]
    plan = [(t, _round8(c * width), n, s, k) for t, c, n, s, k in rows]
    return inverted_network(plan, 16, 960, nn.Hardswish, gate=True)


def convnext(dims: tuple[int, ...], depths: tuple[int, ...]) -> nn.Module:
    """ConvNeXt (arXiv 2201.03545): patches, depthwise 7×7, and layer normalisation over channels."""
    layers: list[nn.Module] = [nn.Conv2d(3, dims[0], 4, 4)]
    for index, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        if index:
            layers += [nn.GroupNorm(1, dims[index - 1]), nn.Conv2d(dims[index - 1], dim, 2, 2)]
        layers += [ConvNeXtBlock(dim) for _ in range(depth)]
    return nn.Sequential(*layers, classifier(dims[-1], _CLASSES))


class VisionTransformer(nn.Module):
    """DeiT (arXiv 2012.12877) without distillation token."""

    def __init__(self, side: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, 3, side, side)."""
        x = self.embed(x).flatten(2).transpose(1, 2)  # (N, T, D)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return logits


class Mixer(nn.Module):
    """MLP-Mixer (arXiv 2105.01601)."""

    def __init__(self, side: int, patch: int, width: int, depth: int) -> None:
        super().__init__()
        tokens = (side // patch) ** 2
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.Sequential(*(MixerBlock(tokens, width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, 3, side, side)."""
        x = self.blocks(self.embed(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(self.norm(x).mean(dim=1))
        return logits


class TextTransformer(nn.Module):
    """BERT (arXiv 1810.04805) of a few layers, from word numbers to classes; the pooler ends in a tanh."""

    def __init__(self, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.words, self.position = nn.Embedding(8000, width), nn.Parameter(torch.zeros(1, length, width))
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(depth)))
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (N, 2) of word numbers (N, length)."""
        x = self.blocks(self.norm(self.words(ids) + self.position))
        logits: Tensor = self.head(torch.tanh(self.pooler(x[:, 0])))
        return logits


def regnet(dims: tuple[int, ...], depths: tuple[int, ...], group: int, gate: bool) -> nn.Module:
    """RegNetX, or with gated channels RegNetY (arXiv 2003.13678)."""
    layers, channels = [ConvAct(3, 32, 3, 2)], 32
    for dim, depth in zip(dims, depths, strict=True):
        for index in range(depth):
            layers.append(RegNetBlock(channels, dim, 2 if index == 0 else 1, dim // group, gate))
            channels = dim
    return nn.Sequential(*layers, classifier(channels, _CLASSES))


def resnet(widths: tuple[int, ...], depths: tuple[int, ...], groups: int = 0, gate: bool = False) -> nn.Module:
    """ResNet (arXiv 1512.03385); with `groups` ResNeXt (arXiv 1611.05431), with `gate` SENet (arXiv 1709.01507)."""
    layers: list[nn.Module] = [ConvAct(3, widths[0], 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            if groups:
                layers.append(RegNetBlock(channels, width, stride, groups, gate))
            else:
                layers.append(ResidualBlock(channels, width, stride))
            channels = width
    return nn.Sequential(*layers, classifier(channels, _CLASSES))


def bit(widths: tuple[int, ...], depths: tuple[int, ...]) -> nn.Module:
    """BiT (arXiv 1912.11370): activations before convolutions, and group normalisation; weights are standardised."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0] // 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    channels = widths[0] // 4
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for index in range(depth):
            layers.append(PreActivationBlock(channels, width, 2 if stage and not index else 1))
            channels = width
    return nn.Sequential(*layers, nn.GroupNorm(32, channels), nn.ReLU(), classifier(channels, _CLASSES))


def poolformer(dims: tuple[int, ...], depths: tuple[int, ...]) -> nn.Module:
    """PoolFormer (arXiv 2111.11418): average pooling in place of attention."""
    layers: list[nn.Module] = [nn.Conv2d(3, dims[0], 7, 4, 2)]
    for index, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        if index:
            layers.append(nn.Conv2d(dims[index - 1], dim, 3, 2, 1))
        layers += [PoolFormerBlock(dim) for _ in range(depth)]
    return nn.Sequential(*layers, nn.GroupNorm(1, dims[-1]), classifier(dims[-1], _CLASSES))


def shufflenet(widths: tuple[int, ...]) -> nn.Module:
    """ShuffleNetV2 (arXiv 1807.11164)."""
    layers: list[nn.Module] = [ConvAct(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 24
    for width, depth in zip(widths[:-1], (4, 8, 4), strict=True):
        layers += [ShuffleBlock(channels if i == 0 else width, width, 2 if i == 0 else 1) for i in range(depth)]
        channels = width
    return nn.Sequential(*layers, ConvAct(channels, widths[-1], 1), classifier(widths[-1], _CLASSES))


def ghostnet(widths: tuple[int, ...]) -> nn.Module:
    """GhostNet (arXiv 1911.11907): half of the channels from cheap depthwise convolutions, concatenated."""
    layers: list[nn.Module] = [ConvAct(3, 16, 3, 2)]
    channels = 16
    for index, width in enumerate(widths):
        layers += [GhostBlock(channels, width, 2 if index else 1), GhostBlock(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, ConvAct(channels, 960, 1), classifier(960, _CLASSES))


class TwoStreams(nn.Module):
    """Two streams, coarse and fine, concatenated (as in arXiv 1406.2199), with a bounded product at the end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(ConvAct(3, width, 3, 2), ConvAct(width, width, 5), ConvAct(width, 2 * width, 3, 2))
        self.coarse = nn.Sequential(nn.AvgPool2d(2), ConvAct(3, width, 3, 1), ConvAct(width, 2 * width, 3, 2))
        self.joined = nn.Sequential(ConvAct(4 * width, 4 * width, 3, 2), ConvAct(4 * width, 8 * width, 3, 2))
        self.gate, self.head = nn.Linear(8 * width, 8 * width), nn.Linear(8 * width, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, 3, H, W)."""
        x = self.joined(torch.cat((self.fine(x), self.coarse(x)), dim=1))
        row = x.mean(dim=(2, 3)) + x.amax(dim=(2, 3))
        logits: Tensor = self.head(row * torch.tanh(self.gate(row)))
        return logits


class OneShotAggregation(nn.Module):
    """VoVNet (arXiv 1904.09730): a chain of convolutions whose outputs are all concatenated once."""

    def __init__(self, channels: int, width: int, out: int) -> None:
        super().__init__()
        self.chain = nn.ModuleList(ConvAct(channels if i == 0 else width, width, 3) for i in range(4))
        self.join, self.gate = ConvAct(channels + 4 * width, out, 1), GatedChannels(out, 4, nn.Hardsigmoid)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, out, H, W)."""
        parts = [x]
        for layer in self.chain:
            parts.append(layer(parts[-1]))
        gated: Tensor = self.gate(self.join(torch.cat(parts, dim=1)))
        return gated


def vovnet(width: int) -> nn.Module:
    """Slim VoVNet of three stages."""
    stages = [OneShotAggregation(width * 2**i, width * 2 ** max(0, i - 1), width * 2 ** (i + 1)) for i in range(3)]
    layers: list[nn.Module] = [ConvAct(3, width, 3, 2)]
    for stage in stages:
        layers += [stage, nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*layers, classifier(width * 8, _CLASSES))


def _image(make: Callable[..., nn.Module], side: int, *arguments: object) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return make(*arguments).eval(), (torch.zeros(1, 3, side, side),)


def _text(length: int, *arguments: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    return TextTransformer(length, *arguments).eval(), (torch.zeros(1, length, dtype=torch.int64),)


NETWORKS: dict[str, Maker] = {
    "mobilenet-v1-050-224": partial(_image, mobilenet_v1, 224, 0.5),
    "mobilenet-v1-025-128": partial(_image, mobilenet_v1, 128, 0.25),
    "mobilenet-v1-075-160": partial(_image, mobilenet_v1, 160, 0.75),
    "mobilenet-v2-100-224": partial(_image, mobilenet_v2, 224, 1.0),
    "mobilenet-v2-050-160": partial(_image, mobilenet_v2, 160, 0.5),
    "mobilenet-v2-035-128": partial(_image, mobilenet_v2, 128, 0.35),
    "efficientnet-lite0-224": partial(_image, efficientnet_lite, 224, 1.0, 1.0),
    "efficientnet-lite0-128": partial(_image, efficientnet_lite, 128, 1.0, 1.0),
    "efficientnet-lite1-160": partial(_image, efficientnet_lite, 160, 1.1, 1.0),
    "mnasnet-gated-100-224": partial(_image, mnasnet_gated, 224, 1.0),
    "mnasnet-gated-050-160": partial(_image, mnasnet_gated, 160, 0.5),
    "convnext-atto-224": partial(_image, convnext, 224, (40, 80, 160, 320), (2, 2, 6, 2)),
    "convnext-atto-128": partial(_image, convnext, 128, (40, 80, 160, 320), (2, 2, 6, 2)),
    "convnext-slim-96": partial(_image, convnext, 96, (24, 48, 96, 192), (2, 2, 4, 2)),
    "deit-tiny-224": partial(_image, VisionTransformer, 224, 224, 16, 192, 12, 3),
    "deit-tiny-128": partial(_image, VisionTransformer, 128, 128, 16, 192, 12, 3),
    "deit-slim-96": partial(_image, VisionTransformer, 96, 96, 8, 96, 6, 3),
    "mixer-slim-224": partial(_image, Mixer, 224, 224, 16, 128, 6),
    "mixer-slim-96": partial(_image, Mixer, 96, 96, 8, 96, 4),
    "bert-tiny-128": partial(_text, 128, 128, 2, 2),
    "bert-mini-64": partial(_text, 64, 256, 4, 4),
    "regnetx-200-224": partial(_image, regnet, 224, (24, 56, 152, 368), (1, 1, 4, 7), 8, False),
    "regnetx-200-128": partial(_image, regnet, 128, (24, 56, 152, 368), (1, 1, 4, 7), 8, False),
    "regnety-200-224": partial(_image, regnet, 224, (24, 56, 152, 368), (1, 1, 4, 7), 8, True),
    "regnety-200-160": partial(_image, regnet, 160, (24, 56, 152, 368), (1, 1, 4, 7), 8, True),
    "resnet18-half-224": partial(_image, resnet, 224, (32, 64, 128, 256), (2, 2, 2, 2)),
    "resnet18-half-128": partial(_image, resnet, 128, (32, 64, 128, 256), (2, 2, 2, 2)),
    "resnext-gated-112": partial(_image, resnet, 112, (64, 128, 256, 512), (1, 2, 2, 1), 32, True),
    "resnext-160": partial(_image, resnet, 160, (64, 128, 256, 512), (1, 1, 2, 1), 16),
    "bit-slim-128": partial(_image, bit, 128, (128, 256, 512), (1, 2, 2)),
    "bit-slim-224": partial(_image, bit, 224, (64, 128, 256), (1, 1, 2)),
    "poolformer-slim-224": partial(_image, poolformer, 224, (32, 64, 160, 256), (2, 2, 4, 2)),
    "poolformer-slim-128": partial(_image, poolformer, 128, (64, 128, 320, 512), (1, 1, 3, 1)),
    "shufflenet-v2-050-224": partial(_image, shufflenet, 224, (48, 96, 192, 1024)),
    "shufflenet-v2-100-128": partial(_image, shufflenet, 128, (116, 232, 464, 1024)),
    "ghostnet-slim-224": partial(_image, ghostnet, 224, (16, 24, 40, 80)),
    "ghostnet-slim-128": partial(_image, ghostnet, 128, (16, 24, 40, 80, 160)),
    "two-streams-224": partial(_image, TwoStreams, 224, 16),
    "two-streams-96": partial(_image, TwoStreams, 96, 24),
    "vovnet-slim-112": partial(_image, vovnet, 112, 32),
}
