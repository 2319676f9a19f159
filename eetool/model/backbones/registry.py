"""Built-in backbones by name."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from eetool.errors import UsageError
from eetool.model.backbones import names
from eetool.model.backbones.densenet import IMAGENET_BLOCKS, cifar_densenet, imagenet_densenet
from eetool.model.backbones.efficientnet_lite import SCALES, efficientnet_lite
from eetool.model.backbones.imagenet_resnet import BLOCKS, ImageNetResNet
from eetool.model.backbones.layers import is_small
from eetool.model.backbones.mlp import Mlp, is_valid_size
from eetool.model.backbones.mobilenet import STAGED, mobilenet_v2, mobilenet_v3, staged_mobilenet
from eetool.model.backbones.mobilenet_v1 import LARGEST_WIDTH, MobileNetV1
from eetool.model.backbones.resnet import CifarResNet, Stage, StagedResNet
from eetool.model.backbones.tcresnet import STAGES, TcResNet
from eetool.model.backbones.text import TextEncoder
from eetool.model.backbones.vgg import CONVOLUTIONS, Vgg
from eetool.model.backbones.vit import Vit, patch_size

_IMAGENET = "imagenet-"
VOCABULARY = "vocabulary"  # key in the configuration of a text model: number of token ids

Shape = tuple[int, ...]
Builder = Callable[[re.Match[str], Shape, int], nn.Module]


def build_backbone(
    reference: str, shape: Sequence[int | str], classes: int, config: dict[str, Any] | None = None
) -> nn.Module:
    """Build a built-in backbone with fresh weights.

    Args:
        reference: one of those in `eetool.model.backbones.names`, or a name of the following forms.
            A CIFAR ResNet of another depth (6n + 2), or a DenseNet (3n + 4, `-bc` 6n + 4).
            `imagenet-resnet50`; what users write for it is in `recorded_name`.
            `mobilenetv1-WIDTH`, such as `mobilenetv1-0.25`.
            A residual network by its stages, WIDTHxBLOCKS each: `resnet-16x0-32x1-64x2s-128x2`. The first stage may be
            a stem without blocks. Every other stage halves the image, unless an `s` (same size) follows.
            A mobile network as searches write it, see `staged_mobilenet`.
            An `mlp-WIDTHxDEPTH` of any size.
            A name for images may end with a size such as `@24`: images are then resized to 24×24 first.
        shape: shape of the input, with a batch dimension.
        classes: number of classes.
        config: for a text model, its number of token ids.

    Raises:
        UsageError: there is no such backbone, or it does not take such inputs.
    """
    sizes = shape[1:]
    other = _build_for_other_inputs(reference, sizes, classes, config or {})
    if other is not None:
        return other
    name, sized, side = reference.partition("@")
    entry = next(((b, m) for pattern, b in _BUILDERS.items() if (m := re.fullmatch(pattern, name))), None)
    if sized and not re.fullmatch("[1-9][0-9]{0,3}", side):
        raise UsageError(f"{reference} gives no size to resize images to", f"Such as {name}@24.")
    if entry is None:
        raise names.unknown_model(reference)
    builder, match = entry
    if len(sizes) != 3 or not all(isinstance(size, int) for size in sizes):
        shown = "x".join(map(str, shape))
        raise UsageError(f"{reference} takes images, not inputs of shape {shown}", "Such as 1x3x32x32.")
    height, width = (int(side), int(side)) if sized else (int(sizes[1]), int(sizes[2]))
    backbone = builder(match, (1, int(sizes[0]), height, width), classes)
    if (height, width) != tuple(sizes[1:]):
        backbone.register_forward_pre_hook(_Resize((height, width)))
    return backbone


class _Resize:
    """Hook that resizes images (N, C, H, W) in front of the network. It is part of the graph, and of its cost."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __call__(self, module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (functional.interpolate(arguments[0], self.size, mode="bilinear", align_corners=False),)


def recorded_name(reference: str, shape: Sequence[int | str]) -> str:
    """Return the name of a built-in backbone for records: one name for one network, whatever the size of its input.

    A ResNet of ImageNet's depths is that of ImageNet, except where there is one of CIFAR with the same depth and images
    have CIFAR's size: `resnet50` is 6n + 2 layers deep.

    Args:
        reference: what the user has written.
        shape: shape of the input, with a batch dimension.
    """
    name, _, side = reference.partition("@")
    match = re.fullmatch(names.RESNET, name)
    if match is None or int(match[1]) not in BLOCKS:
        return reference
    sizes = [int(side)] if side.isdecimal() else [size for size in shape[2:] if isinstance(size, int)]
    both = _is_cifar_depth(int(match[1]))
    return reference if both and is_small((1, 1, *sizes)) else f"{_IMAGENET}{reference}"


def is_text(reference: str) -> bool:
    """Return True for built-in backbones that read token ids."""
    return reference in names.OF_TEXTS


def _build_for_other_inputs(
    reference: str, sizes: Sequence[int | str], classes: int, config: dict[str, Any]
) -> nn.Module | None:
    """Build a backbone for features or texts; return None for the name of any other backbone."""
    mlp, frames = (
        re.fullmatch(r"mlp-([0-9]{1,4})x([0-9]{1,2})", reference),
        re.fullmatch(r"tcresnet([0-9]+)", reference),
    )
    if mlp and is_valid_size(int(mlp[1]), int(mlp[2])):
        (features,) = _sizes(reference, sizes, 1, "vectors of features", "1x64")
        return Mlp(int(mlp[1]), int(mlp[2]), features, classes)
    if frames and int(frames[1]) in STAGES:
        _, bands = _sizes(reference, sizes, 2, "sequences (frames, bands)", "1x61x40")
        return TcResNet(int(frames[1]), bands, classes)
    if is_text(reference):
        (length,) = _sizes(reference, sizes, 1, "token ids", "1x64")
        return TextEncoder(reference.removeprefix("text-"), int(config[VOCABULARY]), length, classes)
    return None


def _sizes(reference: str, sizes: Sequence[int | str], count: int, what: str, example: str) -> list[int]:
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(sizes) != count or len(numbers) != count:
        shown = "x".join(str(size) for size in sizes)
        raise UsageError(f"{reference} takes {what}, not inputs of shape {shown}", f"Such as {example}.")
    return numbers


def _resnet(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    depth = int(match[1])
    if not _is_cifar_depth(depth):
        raise UsageError(
            f"there is no {match[0]}: a CIFAR ResNet has 6n + 2 layers",
            f"Such as resnet8 or resnet20; ImageNet's have {', '.join(map(str, BLOCKS))}.",
        )
    return CifarResNet((depth - 2) // 6, shape[1], classes)


def _is_cifar_depth(depth: int) -> bool:
    return 8 <= depth <= 1202 and (depth - 2) % 6 == 0


def _imagenet_resnet(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    if int(match[1]) not in BLOCKS:
        known = ", ".join(f"{_IMAGENET}resnet{depth}" for depth in BLOCKS)
        raise UsageError(f"there is no {match[0]}", f"ResNets of ImageNet: {known}.")
    return ImageNetResNet(int(match[1]), shape[1], classes, is_small(shape))


def _mobilenet_v1(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    width = float(match[1] or 1)
    if not 0 < width <= LARGEST_WIDTH:
        raise UsageError(f"there is no {match[0]}", f"Its width is above 0 and at most {LARGEST_WIDTH:g}.")
    return MobileNetV1(width, shape[1], classes, is_small(shape))


def _efficientnet_lite(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    if int(match[1]) not in SCALES:
        raise UsageError(f"there is no {match[0]}", f"Known: {', '.join(f'efficientnet-lite{i}' for i in SCALES)}.")
    return efficientnet_lite(int(match[1]), shape[1], classes, is_small(shape))


def _staged_resnet(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    stages = []
    for index, text in enumerate(match[1].split("-")[1:]):
        width, blocks = map(int, text.rstrip("s").split("x"))
        stages.append(Stage(width, blocks, 1 if index == 0 or text.endswith("s") else 2))
    if any(stage.width < 1 for stage in stages) or any(stage.blocks < 1 for stage in stages[1:]):
        raise UsageError(f"{match[0]} has a stage without blocks or width", "Only the first stage may have no block.")
    return StagedResNet(stages, shape[1], classes)


def _densenet(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    depth, compressed = int(match[1]), match[2] is not None
    if depth in IMAGENET_BLOCKS and not compressed:
        return imagenet_densenet(depth, shape[1], classes, is_small(shape))
    step = 6 if compressed else 3
    if depth < 10 or depth > 250 or (depth - 4) % step:
        known = ", ".join(f"densenet{depth}" for depth in IMAGENET_BLOCKS)
        raise UsageError(
            f"there is no {match[0]}: a CIFAR DenseNet has 3n + 4 layers, or 6n + 4 with -bc",
            f"Such as densenet40, densenet100-bc, or one of {known}.",
        )
    return cifar_densenet(depth, compressed, shape[1], classes)


def _vgg(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    if int(match[1]) not in CONVOLUTIONS:
        raise UsageError(f"there is no {match[0]}", f"Depths of VGG: {', '.join(map(str, CONVOLUTIONS))}.")
    return Vgg(int(match[1]), shape[1], classes)


def _vit(match: re.Match[str], shape: Shape, classes: int) -> nn.Module:
    side = patch_size(shape)
    if any(size % side for size in shape[2:]):
        raise UsageError(f"{match[0]} cuts images into patches of {side}×{side}", f"Give sizes divisible by {side}.")
    return Vit(match[1], shape, classes)


_BUILDERS: dict[str, Builder] = {
    names.RESNET: _resnet,
    names.STAGED_RESNET: _staged_resnet,
    names.IMAGENET_RESNET: _imagenet_resnet,
    names.DENSENET: _densenet,
    names.VGG: _vgg,
    names.MOBILENET_V1: _mobilenet_v1,
    names.MOBILENET_V2: lambda match, shape, classes: mobilenet_v2(shape[1], classes, is_small(shape)),
    names.MOBILENET_V3: lambda match, shape, classes: mobilenet_v3(match[1], shape[1], classes, is_small(shape)),
    STAGED: lambda match, shape, classes: staged_mobilenet(match, shape[1], classes),
    names.EFFICIENTNET_LITE: _efficientnet_lite,
    names.VIT: _vit,
}
