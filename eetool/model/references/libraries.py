"""Image models of two libraries with fresh weights: `timm:NAME` and `torchvision:NAME`."""

from typing import Any

from torch import nn

from eetool.errors import UsageError
from eetool.model.references.reference import ModelReference, Shape, float_input, import_library
from eetool_runtime.near_names import near_names

_IMAGENET_CLASSES = 1000
_IMAGENET_SHAPE = (1, 3, 224, 224)
_INSTALL = "pip install {}"


def resolve_timm(name: str, shape: Shape | None, classes: int | None) -> ModelReference:
    """Resolve an image model of timm; the default shape is the one that the model was designed for.

    Raises:
        UsageError: timm has no such model.
        MissingError: timm is not installed, or broken.
    """
    timm = _package("timm")
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:8] or near_names(name, timm.list_models("*"))
        raise UsageError(f"timm has no model {name!r}", f"Near it: {', '.join(near)}." if near else None)
    config = timm.get_pretrained_cfg(name)
    default = (1, *config.input_size) if config is not None else _IMAGENET_SHAPE
    return ModelReference(f"timm:{name}", float_input("input", shape or default), classes or _IMAGENET_CLASSES)


def build_timm(name: str, shape: Shape, classes: int) -> nn.Module:
    """Build the model, for this input size where its architecture depends on the size."""
    timm = _package("timm")
    common = {"pretrained": False, "num_classes": classes, "in_chans": shape[1]}
    try:
        model: nn.Module = timm.create_model(name, **common, img_size=tuple(shape[2:]))
    except TypeError:  # a convolutional model, which has no such argument
        model = timm.create_model(name, **common)
    return model


def check_name(scheme: str, name: str) -> None:
    """Raise UsageError where the library has no model of that name, for example one that would be downloaded."""
    resolve_timm(name, None, None) if scheme == "timm" else resolve_torchvision(name, None, None)


def resolve_torchvision(name: str, shape: Shape | None, classes: int | None) -> ModelReference:
    """Resolve a classification model of torchvision.

    Raises:
        UsageError: torchvision has no such model.
        MissingError: torchvision is not installed, or broken.
    """
    models = _package("torchvision").models
    known = models.list_models(module=models)
    if name not in known:
        near = [other for other in known if name in other][:8] or near_names(name, known)
        hint = f"Near it: {', '.join(near)}." if near else f"Such as torchvision:{known[0]}."
        raise UsageError(f"torchvision has no classification model {name!r}", hint)
    return ModelReference(
        f"torchvision:{name}", float_input("input", shape or _IMAGENET_SHAPE), classes or _IMAGENET_CLASSES
    )


def build_torchvision(name: str, shape: Shape, classes: int) -> nn.Module:
    """Build the model; some architectures depend on the size of the image."""
    models = _package("torchvision").models
    sized = {"image_size": shape[2]} if name.startswith("vit_") and len(shape) == 4 else {}
    model: nn.Module = models.get_model(name, weights=None, num_classes=classes, **sized)
    return model


def _package(name: str) -> Any:
    return import_library(name, _INSTALL.format(name))
