"""ResNets for ImageNet (He et al., arXiv 1512.03385, table 1), with the names that torchvision and timm share.

Bottlenecks have their stride in the 3×3 convolution, as those of both libraries do.
"""

from torch import Tensor, nn
from torch.nn import functional

from eetool.model.backbones.layers import initialise

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_FIRST_BOTTLENECK = 50  # depth
_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4  # of a bottleneck


class ImageNetResNet(nn.Module):
    """ResNet-18, 34, 50, 101 or 152; at 224×224 with 1000 classes 1.81, 3.66, 4.09, 7.80 and 11.51 G MACs.

    Args:
        depth: number of layers.
        in_channels: channels of the image.
        classes: number of classes.
        small: a 3×3 stem without downsampling, for images of CIFAR's size.
    """

    def __init__(self, depth: int, in_channels: int, classes: int, small: bool) -> None:
        super().__init__()
        size, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], size, stride, padding=size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        kind: type[_Basic] | type[_Bottleneck] = _Bottleneck if depth >= _FIRST_BOTTLENECK else _Basic
        width = _WIDTHS[0]
        for index, (inner, count) in enumerate(zip(_WIDTHS, BLOCKS[depth], strict=True)):
            blocks = nn.Sequential()
            for i in range(count):
                block = kind(width, inner, 2 if index and i == 0 else 1)
                blocks.append(block)
                width = block.width
            self.add_module(f"layer{index + 1}", blocks)
        self.fc = nn.Linear(width, classes)
        initialise(self)
        for module in self.modules():
            if isinstance(module, (_Basic, _Bottleneck)):
                nn.init.zeros_(module.last_norm.weight)  # every block initially equals its shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(len(_WIDTHS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        logits: Tensor = self.fc(x.mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, classes)
        return logits


class _Basic(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    def __init__(self, in_width: int, inner: int, stride: int) -> None:
        super().__init__()
        self.width = inner
        self.conv1 = nn.Conv2d(in_width, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = _shortcut(in_width, self.width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Normalisation before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, width, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class _Bottleneck(nn.Module):
    """A 1×1 convolution to fewer channels, a 3×3, a 1×1 to more, and a shortcut."""

    def __init__(self, in_width: int, inner: int, stride: int) -> None:
        super().__init__()
        self.width = inner * _EXPANSION
        self.conv1 = nn.Conv2d(in_width, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, self.width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.width)
        self.downsample = _shortcut(in_width, self.width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """Normalisation before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, width, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _shortcut(in_width: int, width: int, stride: int) -> nn.Module:
    if stride == 1 and in_width == width:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_width, width, 1, stride, bias=False), nn.BatchNorm2d(width))
