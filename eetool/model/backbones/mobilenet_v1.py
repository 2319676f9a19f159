"""MobileNetV1 (Howard et al., arXiv 1704.04861) of any width, with TensorFlow's padding as it was published."""

from torch import Tensor, nn

from eetool.model.backbones.layers import ConvNorm, initialise

# Width and stride of each pair of a depthwise and a 1×1 convolution (table 1 of the paper).
_PAIRS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
_STEM, _LEAST_WIDTH = 32, 8
_KEPT = 2  # the first pair whose stride small images keep
LARGEST_WIDTH = 4.0  # as a multiple of the paper's


class MobileNetV1(nn.Module):
    """A stem, depthwise separable convolutions, global pooling and a classifier.

    At 224×224 with 1000 classes and width 1.0 it has 4.23 M parameters and 569 M MACs.

    Args:
        width: of all layers, as a multiple of the paper's.
        in_channels: channels of the image.
        classes: number of classes.
        small: skip the first two downsamplings, for images of CIFAR's size.
    """

    def __init__(self, width: float, in_channels: int, classes: int, small: bool) -> None:
        super().__init__()
        channels = _scaled(_STEM, width)
        self.stem = ConvNorm(in_channels, channels, stride=1 if small else 2, activation=nn.ReLU6, of_tensorflow=True)
        self.blocks = nn.Sequential()
        for index, (out, stride) in enumerate(_PAIRS):
            self.blocks.append(_Separable(channels, _scaled(out, width), 1 if small and index < _KEPT else stride))
            channels = _scaled(out, width)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        x = self.blocks(self.stem(x)).mean((2, 3))  # (N, C, H, W) -> (N, C)
        logits: Tensor = self.classifier(x)
        return logits


class _Separable(nn.Module):
    """Depthwise 3×3 convolution, and a 1×1 convolution."""

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvNorm(
            in_width, in_width, stride=stride, groups=in_width, activation=nn.ReLU6, of_tensorflow=True
        )
        self.pointwise = ConvNorm(in_width, width, 1, activation=nn.ReLU6, of_tensorflow=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, width, H / stride, W / stride)."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


def _scaled(channels: int, width: float) -> int:
    return max(int(channels * width), _LEAST_WIDTH)
