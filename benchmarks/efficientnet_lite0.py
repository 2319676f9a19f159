"""EfficientNet-Lite0 as a factory, for versions without the built-in one that `photo_commands.py` measures.

Source: EfficientNet (arXiv 1905.11946) without squeeze-and-excite and with ReLU6, as TensorFlow published it. A
convolution pads as TensorFlow does: at stride 2 one more pixel at the right and bottom.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 6
# Repeats, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_EPSILON = 1e-3
_BATCH, _DECAY = 16, 1e-3  # of the fit of the classifier; more images at 224 pixels take three times as long each


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's padding, and batch normalisation; `active` adds ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1, active: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self.act = nn.ReLU6() if active else nn.Identity()
        around = max(kernel - stride, 0)  # for sides that the stride divides
        self.padding = (around // 2, around - around // 2) * 2

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        return self.act(self.bn(self.conv(functional.pad(x, self.padding))))


class Block(nn.Module):
    """Inverted residual: expansion, depthwise convolution, projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self.expand = ConvNorm(inputs, width, 1, 1)
        self.depth = ConvNorm(width, width, kernel, stride, groups=width)
        self.project = ConvNorm(width, outputs, 1, 1, active=False)
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        inner = self.project(self.depth(self.expand(x) if self.expands else x))
        return x + inner if self.adds else inner


class EfficientNetLite0(nn.Module):
    """Stem, 16 blocks, head, and a classifier of the mean over the image."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem = ConvNorm(3, _STEM, 3, 2)
        blocks, inputs = [], _STEM
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(inputs, _HEAD, 1, 1)
        self.fc = nn.Linear(_HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W), sides divisible by 32, to logits (N, classes)."""
        return self.fc(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the inputs (N, 1280) of the classifier."""
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def make() -> nn.Module:
    """Return the network for the photographs, with fresh weights."""
    return EfficientNetLite0(CLASSES)


def write_start(published: Path, target: Path, photographs: str, seed: int) -> None:
    """Write published weights with a classifier that is fitted on the training part of `photographs`, a data source."""
    from safetensors.torch import load_file, save_file

    from eetool.data.registry import load_source

    torch.manual_seed(seed)
    net, tensors, source = make().eval(), load_file(published), load_source(photographs)
    net.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}, strict=False)
    with torch.no_grad():
        features = torch.cat(
            [net.features(_images(source.inputs[i : i + _BATCH])) for i in range(0, source.training_count, _BATCH)]
        )
    fit_classifier(net.fc, features, torch.from_numpy(source.labels[: len(features)]))
    save_file({**tensors, "fc.weight": net.fc.weight.detach(), "fc.bias": net.fc.bias.detach()}, target)


def _images(pixels: np.ndarray) -> Tensor:
    """Return pixels uint8 (n, 3, H, W) as the inputs that the published weights expect."""
    return (torch.from_numpy(np.array(pixels)).to(torch.float, memory_format=torch.channels_last) - 127) / 128


def fit_classifier(layer: nn.Linear, features: Tensor, labels: Tensor) -> None:
    """Fit a classifier of features (n, 1280) with labels (n,) in place: logistic regression with weight decay."""
    search = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = functional.cross_entropy(layer(features), labels) + _DECAY * layer.weight.square().sum()
        value.backward()
        return value

    search.step(loss)
