"""Layers and helpers that the built-in backbones share."""

from torch import Tensor, nn

SMALL_IMAGE = 64  # pixels; up to this size the first two downsamplings of ImageNet networks are skipped


class ConvNorm(nn.Module):
    """Convolution with padding, batch normalisation and activation."""

    def __init__(
        self,
        in_width: int,
        width: int,
        size: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, size, stride, padding=size // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width)
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
