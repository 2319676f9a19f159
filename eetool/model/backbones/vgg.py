"""VGG with batch normalisation for small images.

Convolutions are those of Simonyan and Zisserman (arXiv 1409.1556), table 1. Global pooling and one linear classifier
follow, the usual form on CIFAR.
"""

from torch import Tensor, nn

from eetool.model.backbones.layers import ConvNorm, initialise

_WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class Vgg(nn.Module):
    """Five stages, each with a max-pool at its end."""

    def __init__(self, depth: int, in_channels: int, classes: int) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        width = in_channels
        for stage_width, count in zip(_WIDTHS, CONVOLUTIONS[depth], strict=True):
            stage = nn.Sequential()
            for _ in range(count):
                stage.append(ConvNorm(width, stage_width))
                width = stage_width
            stage.append(nn.MaxPool2d(2, ceil_mode=True))  # rounded up, so that five fit an image of any size
            self.stages.append(stage)
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(self.stages(x).mean((2, 3)))  # (N, 512, H, W) -> (N, 512) -> (N, classes)
        return logits
