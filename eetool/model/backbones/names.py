"""Names of the built-in backbones. Nothing of torch is imported, so that a wrong name is told at once."""

import re

from eetool.errors import UsageError
from eetool_runtime.near_names import did_you_mean

# For images; for features, that is vectors and sequences of frames; for texts.
NAMES = (
    *("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet-16x0-32x1-64x2s-128x2-256x2"),
    *("densenet40", "densenet100-bc", "densenet121", "densenet169", "densenet201"),
    *("vgg11", "vgg13", "vgg16", "vgg19"),
    *("imagenet-resnet18", "imagenet-resnet50"),
    *("mobilenetv1", "mobilenetv1-0.5", "mobilenetv1-0.25", "mobilenetv2", "mobilenetv3-small", "mobilenetv3-large"),
    *("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "vit-tiny", "vit-small"),
)
OF_FEATURES = ("mlp-256x3", "tcresnet8", "tcresnet14")
OF_TEXTS = ("text-tiny", "text-small")

# Forms of the names for images; a builder says which of the numbers there are.
RESNET = r"resnet([0-9]{1,4})"
STAGED_RESNET = r"resnet((?:-[0-9]{1,4}x[0-9]{1,3}s?)+)"
IMAGENET_RESNET = r"imagenet-resnet([0-9]{1,4})"
DENSENET = r"densenet([0-9]{1,3})(-bc)?"
VGG = r"vgg([0-9]{1,2})"
MOBILENET_V1 = r"mobilenetv1(?:-([0-9](?:\.[0-9]{1,4})?))?"
MOBILENET_V2 = r"mobilenetv2"
MOBILENET_V3 = r"mobilenetv3-(small|large)"
EFFICIENTNET_LITE = r"efficientnet-lite([0-9])"
VIT = r"vit-(tiny|small)"
_OF_SEARCHES = r"mbv3-[0-9].*"
_FORMS = (
    *(RESNET, STAGED_RESNET, IMAGENET_RESNET, DENSENET, VGG, MOBILENET_V1, MOBILENET_V2, MOBILENET_V3),
    *(EFFICIENTNET_LITE, VIT, _OF_SEARCHES),
)
_OTHER_FORMS = (r"mlp-[0-9]+x[0-9]+", r"tcresnet[0-9]+")

SCHEMES = ("timm", "torchvision", "hf")
_REFERENCES = "timm:NAME, torchvision:NAME, hf:NAME_OR_CONFIG and package.module:factory"


def has_known_form(reference: str) -> bool:
    """Return whether `reference` may be a built-in backbone; its builder still checks the numbers in it."""
    name = reference.partition("@")[0]
    return reference in OF_TEXTS or any(re.fullmatch(form, name) for form in (*_FORMS, *_OTHER_FORMS))


def own_size(reference: str) -> int | None:
    """Return the height and width that a built-in backbone resizes images to, as in `resnet8@24`; None without."""
    name, _, side = reference.partition("@")
    return int(side) if side.isdecimal() and ":" not in name else None


def unknown_model(reference: str) -> UsageError:
    """Return the error for a name that no backbone has."""
    known = (*NAMES, *OF_FEATURES, *OF_TEXTS)
    meant = did_you_mean(reference, known)
    return UsageError(
        f"unknown model {reference!r}", f"{meant}Built-in models: {', '.join(known)}; others: {_REFERENCES}."
    )
