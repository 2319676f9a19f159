"""The CIFAR ResNets."""

from torch import Tensor, nn
from torch.nn import functional

_STAGE_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """ResNet for 32×32 images (He et al., arXiv 1512.03385, §4.2), with parameter-free option-A shortcuts.

    Parameter names are those of the widely used pretrained checkpoints, so that these load unchanged.
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
        """(N, C, H, W) -> logits (N, classes)."""
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
        """Option A: take every second pixel and fill the new channels with zeros, half on either side."""
        if self.stride == 1 and self.added == 0:
            return x
        subsampled = x[:, :, :: self.stride, :: self.stride]  # (N, C, H, W) -> (N, C, H/2, W/2)
        return functional.pad(subsampled, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))


def _stage(in_width: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(in_width, width, stride)
    return nn.Sequential(first, *(_Block(width, width, 1) for _ in range(blocks - 1)))
