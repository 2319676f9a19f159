"""Names of the built-in search spaces. Nothing of torch is imported, so that a wrong name is told at once."""

from eetool.errors import UsageError
from eetool_runtime.near_names import did_you_mean

MOBILENET_V3, MOBILENET_V3_CIFAR, RESNET = "mobilenetv3", "mobilenetv3-cifar", "resnet"
SPACE_NAMES = (MOBILENET_V3, MOBILENET_V3_CIFAR, RESNET)


def check_space_name(name: str) -> None:
    """Raise UsageError where `name` is neither a built-in space nor of the form `package.module:space`."""
    if name not in SPACE_NAMES and ":" not in name:
        known = f"Known spaces: {', '.join(SPACE_NAMES)}; your own is package.module:space."
        raise UsageError(f"unknown search space {name!r}", did_you_mean(name, SPACE_NAMES) + known)
