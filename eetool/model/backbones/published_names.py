"""Names that published files have for the tensors of built-in networks, and what else differs between both.

Files of timm and torchvision, and files with TensorFlow's weights of EfficientNet-Lite and MobileNetV1. Networks of one
publisher share names where their padding differs: `timm:NAME` is exact for all of timm's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from eetool.model.backbones.efficientnet_lite import EfficientNetLite
from eetool.model.backbones.imagenet_resnet import ImageNetResNet
from eetool.model.backbones.layers import TENSORFLOW_EPSILON, ConvNorm
from eetool.model.backbones.mobilenet import InvertedResidual, MobileNet, MobileNetV2, MobileNetV3
from eetool.model.backbones.mobilenet_v1 import MobileNetV1

Normalisation = tuple[
    tuple[float, ...], tuple[float, ...]
]  # mean and deviation of pixels in [0, 1], one for all or each
State = Mapping[str, Tensor]

_TIMM, _TORCHVISION, _TENSORFLOW = "timm", "torchvision", "TensorFlow"
_IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Normalisation = ((0.5,), (0.5,))
_LITE: Normalisation = ((127 / 255,), (128 / 255,))  # (x - 127) / 128 of pixels from 0 to 255
_V1: Normalisation = ((128 / 255,), (128 / 255,))
_TORCHVISION_V3_EPSILON = 1e-3
_CLASSIFIER_OF_V1 = "classifier."
_MEAN, _VARIANCE, _WEIGHT = "running_mean", "running_var", "weight"


@dataclass(frozen=True)
class PublishedNames:
    """Names of one publisher for the tensors of a network.

    Attributes:
        source: the publisher, for messages.
        own: name of the network's tensor, by the name in the file.
        normalisation: of the pixels that the weights expect.
        epsilon: how much larger ε of normalisations is in the publisher's network.
        folded: normalisations by name, where they are folded into the convolutions of the file.
        background: the first class of the file, where it has one more, is of no object.
    """

    source: str
    own: Mapping[str, str]
    normalisation: Normalisation
    epsilon: float = 0.0
    folded: tuple[str, ...] = ()
    background: bool = False

    def translate(self, stored: State, expected: State) -> dict[str, Tensor]:
        """Return stored tensors by the names of the network, with its shapes, and values for its ε.

        Tensors without a counterpart keep their name.

        Args:
            stored: tensors of the file.
            expected: tensors of the network.
        """
        tensors = {self.own.get(name, name): x for name, x in stored.items()}
        for norm in self.folded:  # by an identity, which `eetool.train.norm_statistics` replaces
            if f"{norm}.bias" in tensors and f"{norm}.{_VARIANCE}" not in tensors:
                bias = tensors[f"{norm}.bias"]
                variance = torch.ones_like(bias) - TENSORFLOW_EPSILON
                tensors |= {f"{norm}.{_WEIGHT}": torch.ones_like(bias), f"{norm}.{_MEAN}": torch.zeros_like(bias)}
                tensors[f"{norm}.{_VARIANCE}"] = variance
        return {name: self._fitted(name, x, expected[name]) if name in expected else x for name, x in tensors.items()}

    def _fitted(self, name: str, stored: Tensor, expected: Tensor) -> Tensor:
        if name.endswith(_VARIANCE) and self.epsilon:
            return stored + self.epsilon
        if self.background and name.startswith(_CLASSIFIER_OF_V1) and len(stored) == len(expected) + 1:
            return stored[1:]
        flat = stored.ndim > expected.ndim and stored.shape[expected.ndim :].numel() == 1  # a 1×1 convolution
        return stored.flatten(expected.ndim - 1) if flat else stored


def published_names(backbone: nn.Module) -> tuple[PublishedNames, ...]:
    """Return the names that files of others have for the tensors of a built-in network; none for other networks."""
    if isinstance(backbone, ImageNetResNet):
        own = {name: name for name in backbone.state_dict()}
        return (PublishedNames(f"{_TORCHVISION} and {_TIMM}", own, _IMAGENET),)
    if isinstance(backbone, MobileNetV1):
        return (_of_v1(backbone),)
    if isinstance(backbone, EfficientNetLite):
        return (
            PublishedNames(_TENSORFLOW, _renamed(backbone, _lite_modules(backbone)), _LITE),
            PublishedNames(f"{_TIMM} (tf_efficientnet_lite)", _renamed(backbone, _timm_modules(backbone)), _HALF),
        )
    if isinstance(backbone, (MobileNetV2, MobileNetV3)):
        shift = _TORCHVISION_V3_EPSILON - backbone.stem.norm.eps if isinstance(backbone, MobileNetV3) else 0.0
        return (
            PublishedNames(_TORCHVISION, _renamed(backbone, _torchvision_modules(backbone)), _IMAGENET, shift),
            PublishedNames(_TIMM, _renamed(backbone, _timm_modules(backbone)), _IMAGENET),
        )
    return ()


def _renamed(backbone: nn.Module, modules: Iterator[tuple[str, str]]) -> dict[str, str]:
    """Return the own name of each tensor by the published one, from pairs of modules: own name, published name."""
    published = dict(modules)
    names = {}
    for name in backbone.state_dict():
        module, _, tensor = name.rpartition(".")
        names[f"{published[module]}.{tensor}"] = name
    return names


def _of_v1(backbone: MobileNetV1) -> PublishedNames:
    convolutions = {"stem": "stem.conv"}
    for index in range(len(backbone.blocks)):
        convolutions |= {f"blocks.{index}.depthwise": f"blocks.{index}.depth.conv"}
        convolutions |= {f"blocks.{index}.pointwise": f"blocks.{index}.point.conv"}
    own = {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}
    for name, published in convolutions.items():
        own |= {f"{published}.weight": f"{name}.conv.weight", f"{published}.bias": f"{name}.norm.bias"}
    folded = tuple(f"{name}.norm" for name in convolutions)
    return PublishedNames(_TENSORFLOW, own, _V1, folded=folded, background=True)


def _lite_modules(backbone: EfficientNetLite) -> Iterator[tuple[str, str]]:
    for own, published in (("stem", "stem"), ("last", "head")):
        yield from _conv_norm(own, f"{published}.conv", f"{published}.bn")
    for index, block in enumerate(backbone.blocks):
        for own, published in (("expand", "expand"), ("depthwise", "depth"), ("project", "project")):
            if isinstance(block.get_submodule(own), ConvNorm):
                place = f"blocks.{index}.{published}"
                yield from _conv_norm(f"blocks.{index}.{own}", f"{place}.conv", f"{place}.bn")
    yield "classifier.layers.1", "fc"


def _timm_modules(backbone: MobileNet) -> Iterator[tuple[str, str]]:
    yield from _conv_norm("stem", "conv_stem", "bn1")
    stages = _stages(backbone)
    for index, (block, (stage, place)) in enumerate(zip(backbone.blocks, stages, strict=True)):
        own, published = f"blocks.{index}", f"blocks.{stage}.{place}"
        expands = isinstance(block.expand, ConvNorm)
        convolutions = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("conv_dw", "conv_pw")
        names = ("expand", "depthwise", "project") if expands else ("depthwise", "project")
        for number, (name, conv) in enumerate(zip(names, convolutions, strict=True)):
            yield from _conv_norm(f"{own}.{name}", f"{published}.{conv}", f"{published}.bn{number + 1}")
        yield f"{own}.squeeze.layers.1", f"{published}.se.conv_reduce"
        yield f"{own}.squeeze.layers.3", f"{published}.se.conv_expand"
    if isinstance(backbone, MobileNetV3):
        last = f"blocks.{stages[-1][0] + 1}.0"
        yield from _conv_norm("last", f"{last}.conv", f"{last}.bn1")
        yield "classifier.layers.0", "conv_head"
        yield "classifier.layers.3", "classifier"
    else:
        yield from _conv_norm("last", "conv_head", "bn2")
        yield "classifier.layers.1", "classifier"


def _torchvision_modules(backbone: MobileNet) -> Iterator[tuple[str, str]]:
    yield from _conv_norm("stem", "features.0.0", "features.0.1")
    is_v3 = isinstance(backbone, MobileNetV3)
    for index, block in enumerate(backbone.blocks):
        published = f"features.{index + 1}.{'block' if is_v3 else 'conv'}"
        names = [name for name in _PARTS if not isinstance(block.get_submodule(name), nn.Identity)]
        for number, name in enumerate(names):
            own, place = f"blocks.{index}.{name}", f"{published}.{number}"
            if name == "squeeze":
                yield f"{own}.layers.1", f"{place}.fc1"
                yield f"{own}.layers.3", f"{place}.fc2"
            elif name == "project" and not is_v3:
                yield from _conv_norm(own, place, f"{published}.{number + 1}")
            else:
                yield from _conv_norm(own, f"{place}.0", f"{place}.1")
    last = f"features.{len(backbone.blocks) + 1}"
    yield from _conv_norm("last", f"{last}.0", f"{last}.1")
    for layer in (0, 3) if is_v3 else (1,):
        yield f"classifier.layers.{layer}", f"classifier.{layer}"


_PARTS = ("expand", "depthwise", "squeeze", "project")


def _conv_norm(own: str, conv: str, norm: str) -> Iterator[tuple[str, str]]:
    yield f"{own}.conv", conv
    yield f"{own}.norm", norm


def _stages(backbone: MobileNet) -> list[tuple[int, int]]:
    """Return stage and place of every block: a stage has one width."""
    widths = [block.project.conv.out_channels for block in backbone.blocks if isinstance(block, InvertedResidual)]
    places = [(0, 0)]
    for before, width in pairwise(widths):
        stage, place = places[-1]
        places.append((stage, place + 1) if width == before else (stage + 1, 0))
    return places
