"""EfficientNet-Lite: EfficientNet (Tan and Le, arXiv 1905.11946) without squeeze-and-excite, with ReLU6.

TensorFlow published it for devices without floats. Stem and head keep their widths, and the first and last stage their
depths, whatever the scale.
"""

import math

from torch import nn

from eetool.model.backbones.layers import ConvNorm, round_to_multiple
from eetool.model.backbones.mobilenet import Classifier, MobileNet, Row, at_size

# Stages of EfficientNet-B0: repeats, kernel, stride, expansion, width.
_STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
_STEM, _HEAD = 32, 1280
# Factors of width and depth, and dropout; the images of 0, 1 and 2 have 224, 240 and 260 pixels.
SCALES = {0: (1.0, 1.0, 0.2), 1: (1.0, 1.1, 0.2), 2: (1.1, 1.2, 0.3)}


class EfficientNetLite(MobileNet):
    """A MobileNet with the stages of EfficientNet."""

    of_tensorflow = True


def efficientnet_lite(kind: int, in_channels: int, classes: int, small: bool) -> EfficientNetLite:
    """EfficientNet-Lite0, 1 or 2; with 1000 classes 4.65, 5.42 and 6.09 M parameters."""
    widths, depths, dropout = SCALES[kind]
    rows, width = [], _STEM
    for index, (repeats, size, stride, expansion, out) in enumerate(_STAGES):
        out = round_to_multiple(out * widths)
        inner = 0 < index < len(_STAGES) - 1
        for i in range(math.ceil(repeats * depths) if inner else repeats):
            rows.append(Row(size, expansion * width, out, False, nn.ReLU6, stride if i == 0 else 1))
            width = out
    stem = ConvNorm(in_channels, _STEM, stride=2, activation=nn.ReLU6, of_tensorflow=True)
    head = ConvNorm(width, _HEAD, 1, activation=nn.ReLU6, of_tensorflow=True)
    classifier = Classifier(nn.Sequential(nn.Dropout(dropout), nn.Linear(_HEAD, classes)))
    return EfficientNetLite(*at_size(stem, rows, small), head, classifier)
