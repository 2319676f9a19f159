"""The family of the table: its backbones, their taps, and the branches at every tap."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.errors import UsageError
from eetool.model.taps import TapCost

TAPS = 8  # of every backbone
PUBLISHED = ("resnet20", "resnet32", "resnet44", "resnet56")
# Three to twelve million MACs, so that all six are trained within fifty minutes of one core.
TRAINED = (
    "resnet-16x0-8x3-16x3-32x4",
    "resnet-16x0-12x3-24x3-48x3",
    "resnet-16x0-8x4-24x4-48x3",
    "resnet-16x0-12x4-24x4-32x4",
    "resnet-16x0-16x2-24x4-48x4",
    "resnet-16x0-16x3-32x3-64x3",
)
# Depths 0 to 3 of the alphabet of `eetool.model.branches`. Convolutions of 32×32 features are behind a pool, except
# the narrow ones: they would cost more than the backbone.
BRANCHES = (
    "linear",
    "max2",
    "conv1-64",
    "conv3-32",
    "sep3-64",
    "max2,conv3-32",
    "max2,conv3-64",
    "max2,sep5-64",
    "max2,conv3-32,conv3-64",
    "max2,max2,conv3-64",
)
_BLOCK = re.compile(r"(?:layer|stage)[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class FamilyMember:
    """A backbone of the family.

    Attributes:
        name: reference as in `eetool train`.
        weights: published weights; None where it is trained.
        epochs: passes over the training images where it is trained.
    """

    name: str
    weights: Path | None = None
    epochs: int = 0


def family(weights: Path | None, trained: tuple[str, ...], epochs: int) -> list[FamilyMember]:
    """Return the members, those that take longest first.

    Args:
        weights: folder of the published weights, `cifar10_resnet20.safetensors` and so on; None leaves them out.
        trained: backbones to train.
        epochs: of their training.

    Raises:
        UsageError: a file of weights is missing, a backbone is named twice, or none is left.
    """
    members = []
    for name in reversed(PUBLISHED) if weights is not None else ():
        assert weights is not None
        path = weights / f"cifar10_{name}.safetensors"
        if not path.is_file():
            raise UsageError(f"{path} does not exist", "--weights names the folder of the four published ResNets.")
        members.append(FamilyMember(name, path))
    members += [FamilyMember(name, None, epochs) for name in trained]
    names = [member.name for member in members]
    if not names or len(set(names)) < len(names):
        raise UsageError("the family has no backbone, or one of them twice", "Give --weights, --train or both.")
    return members


def choose_taps(taps: list[TapCost], name: str) -> list[TapCost]:
    """Return the taps of the table: blocks, spread evenly over the depth.

    Raises:
        UsageError: the backbone has fewer blocks.
    """
    blocks = [tap for tap in taps if _BLOCK.fullmatch(tap.name)]
    if len(blocks) < TAPS:
        raise UsageError(
            f"{name} has {len(blocks)} blocks before its last one, and the table takes {TAPS}", "Give it more blocks."
        )
    return [blocks[i] for i in np.linspace(0, len(blocks) - 1, TAPS).round().astype(int)]
