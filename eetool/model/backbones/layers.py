"""Layers and helpers that the built-in backbones share."""

import math

from torch import Tensor, nn
from torch.nn import functional

SMALL_IMAGE = 64  # pixels; up to this size the first two downsamplings of ImageNet networks are skipped
_EPSILON, TENSORFLOW_EPSILON = 1e-5, 1e-3


class TensorFlowConv(nn.Conv2d):
    """Convolution that pads as TensorFlow's SAME does: where the sum is odd, one more pixel at the right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, width, ceil(H / stride), ceil(W / stride))."""
        rows, columns = (_padding(x.shape[i + 2], self.kernel_size[i], self.stride[i]) for i in range(2))
        if rows % 2 == columns % 2 == 0:
            around = (rows // 2, columns // 2)
            return functional.conv2d(x, self.weight, self.bias, self.stride, around, groups=self.groups)
        padded = functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


def _padding(side: int, size: int, stride: int) -> int:
    """Return how many pixels are added to `side`, before and after it together."""
    return max((math.ceil(side / stride) - 1) * stride + size - side, 0)


class ConvNorm(nn.Module):
    """Convolution with padding, batch normalisation and activation.

    Args:
        in_width: channels of its input.
        width: channels of its output.
        size: side of the kernel.
        stride: in both directions.
        groups: groups of channels.
        activation: behind the normalisation.
        of_tensorflow: padding and ε as TensorFlow's networks have them; else those of torch.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        size: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
        of_tensorflow: bool = False,
    ) -> None:
        super().__init__()
        kind = TensorFlowConv if of_tensorflow else nn.Conv2d
        self.conv = kind(in_width, width, size, stride, padding=size // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=TENSORFLOW_EPSILON if of_tensorflow else _EPSILON)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to (N, width, H / stride, W / stride)."""
        y: Tensor = self.activation(self.norm(self.conv(x)))
        return y


def is_small(shape: tuple[int, ...]) -> bool:
    """Return True for inputs (N, C, H, W) of about CIFAR's size."""
    return min(shape[2:]) <= SMALL_IMAGE


def round_to_multiple(width: float, by: int = 8) -> int:
    """Round `width` to a multiple of `by`, down by a tenth at most (as the code of arXiv 1801.04381 does)."""
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded if rounded >= 0.9 * width else rounded + by


def initialise(network: nn.Module, linear_std: float = 0.01) -> None:
    """Initialise convolutions (He et al., arXiv 1502.01852), linear layers with small normal weights, biases with 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=linear_std)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
