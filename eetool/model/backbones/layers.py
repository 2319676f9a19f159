"""What the built-in backbones share: a convolution with its normalisation, the sizes of widths, initialisation."""

from torch import Tensor, nn

SMALL_IMAGE = 64  # pixels; images up to this size skip the first two halvings that ImageNet networks begin with


class ConvNorm(nn.Module):
    """Convolution that keeps the size (but for its stride), batch normalisation, activation."""

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
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        y: Tensor = self.activation(self.norm(self.conv(x)))
        return y


def is_small(shape: tuple[int, ...]) -> bool:
    """Whether an input (N, C, H, W) is of CIFAR's kind."""
    return min(shape[2:]) <= SMALL_IMAGE


def divisible(width: float, by: int = 8) -> int:
    """`width` rounded to a multiple of `by`, and never by more than a tenth downwards (arXiv 1801.04381's code)."""
    rounded = max(by, int(width + by / 2) // by * by)
    return rounded if rounded >= 0.9 * width else rounded + by


def initialise(network: nn.Module, linear_std: float = 0.01) -> None:
    """He's initialisation (arXiv 1502.01852) for convolutions, small normal weights for classifiers, no bias."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=linear_std)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
