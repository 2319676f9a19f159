"""ResNets for CIFAR, and residual networks of any widths and depths."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from eetool.model.backbones.layers import ConvNorm, initialise

_STAGE_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """ResNet for 32×32 images (He et al., arXiv 1512.03385, §4.2), with parameter-free option-A shortcuts.

    Parameter names are those of widely used pretrained checkpoints, so that these can be loaded unchanged.
    """

    def __init__(self, blocks_per_stage: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _STAGE_WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STAGE_WIDTHS[0])
        self.layer1 = _stage(_STAGE_WIDTHS[0], _STAGE_WIDTHS[0], blocks_per_stage, stride=1)
        self.layer2 = _stage(_STAGE_WIDTHS[0], _STAGE_WIDTHS[1], blocks_per_stage, stride=2)
        self.layer3 = _stage(_STAGE_WIDTHS[1], _STAGE_WIDTHS[2], blocks_per_stage, stride=2)
        self.linear = nn.Linear(_STAGE_WIDTHS[2], classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, classes)
        return logits


class _Block(nn.Module):
    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.added = width - in_width

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        """Apply option A: take every second pixel and fill the new channels with zeros, half on either side."""
        if self.stride == 1 and self.added == 0:
            return x
        subsampled = x[:, :, :: self.stride, :: self.stride]  # (N, C, H, W) -> (N, C, H/2, W/2)
        return functional.pad(subsampled, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


def _stage(in_width: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(in_width, width, stride)
    return nn.Sequential(first, *(_Block(width, width, 1) for _ in range(blocks - 1)))


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; the first one has the stride."""

    width: int
    blocks: int
    stride: int


class StagedResNet(nn.Module):
    """Residual network with stages of any width, number of blocks and stride.

    Blocks are those of He et al. (arXiv 1512.03385) with 1×1 convolutions as shortcuts (option B of the paper).
    Inference engines fuse normalisations, sums and activations of such blocks into the convolutions.

    Args:
        stages: at least one; if the first has no block, its width is that of the stem.
        in_channels: channels of the image.
        classes: number of classes.
    """

    def __init__(self, stages: Sequence[Stage], in_channels: int, classes: int) -> None:
        super().__init__()
        width = stages[0].width
        self.stem = ConvNorm(in_channels, width)
        self.stages = [f"stage{i}" for i, stage in enumerate(stages) if stage.blocks]
        for name, stage in zip(self.stages, (stage for stage in stages if stage.blocks), strict=True):
            first = _ProjectedBlock(width, stage.width, stage.stride)
            others = (_ProjectedBlock(stage.width, stage.width, stride=1) for _ in range(stage.blocks - 1))
            self.add_module(name, nn.Sequential(first, *others))
            width = stage.width
        self.classifier = nn.Linear(width, classes)
        initialise(self)
        for module in self.modules():
            if isinstance(module, _ProjectedBlock):
                nn.init.zeros_(module.norm.weight)  # every block initially equals its shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, classes)
        return logits


class _ProjectedBlock(nn.Module):
    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_width, width, stride=stride)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        same = stride == 1 and in_width == width
        self.shortcut = nn.Identity() if same else ConvNorm(in_width, width, 1, stride, activation=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(self.first(x))) + self.shortcut(x))
