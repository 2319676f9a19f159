"""Levels of augmentation by name, and what each does to a kind of data."""

from dataclasses import replace

from eetool.data.augmentation import NO_AUGMENTATION, Augmentation
from eetool.data.source import Source
from eetool.errors import UsageError

NONE, LIGHT, STANDARD, STRONG = "none", "light", "standard", "strong"
LEVELS = (NONE, LIGHT, STANDARD, STRONG)
_SMALL = 64  # pixels; smaller images are shifted, as that of CIFAR, larger ones cropped, as those of ImageNet
_COLOURED = (1, 3)  # numbers of channels whose colours have a meaning
_AREA = {STANDARD: 0.5, STRONG: 0.25}
_COLOUR = {STANDARD: 0.2, STRONG: 0.4}
_MIXUP = 0.2  # as for ImageNet in arXiv 1710.09412


def choose_augmentation(source: Source, level: str, mirror: bool | None = None, erase: int = 0) -> Augmentation:
    """Return the augmentation of a level for a source.

    | level | images (side < 64) | images (others) | features | texts |
    |---|---|---|---|---|
    | none | – | – | – | – |
    | light | shift by 4 pixels, mirror where that is known to keep the label | the same | – | – |
    | standard | shift by 1/8, mirror, colours ±20 % | crop of 50–100 %, mirror, colours ±20 % | refused | refused |
    | strong | shift by 1/8, mirror, colours ±40 %, erase 1/4, mixup | crop of 25–100 %, … | mixup | refused |

    Args:
        source: the data.
        level: one of `LEVELS`.
        mirror: whether images are mirrored; None: in `light` where the source says that it keeps the label, in
            `standard` and `strong` unless it says that it does not.
        erase: side in pixels of the erased square; 0: that of the level.

    Raises:
        UsageError: the level or an option changes nothing in such data.
    """
    if not source.are_pixels:
        return _of_finished_inputs(source, level, mirror, erase)
    flips = bool(source.mirror) if level == LIGHT else level != NONE and source.mirror is not False
    chosen = replace(NO_AUGMENTATION, mirror=flips if mirror is None else mirror, erase=erase)
    if level == NONE:
        return chosen
    if level == LIGHT:
        return replace(chosen, shift=Augmentation().shift)
    channels, *sides = source.inputs.shape[1:]
    colour = _COLOUR[level] if channels in _COLOURED else 0.0
    if min(sides) < _SMALL:
        chosen = replace(chosen, shift=max(1, min(sides) // 8), colour=colour)
    else:
        chosen = replace(chosen, area=_AREA[level], colour=colour)
    if level == STANDARD:
        return chosen
    return replace(chosen, erase=erase or max(1, min(sides) // 4), mixup=_MIXUP)


def _of_finished_inputs(source: Source, level: str, mirror: bool | None, erase: int) -> Augmentation:
    kind = "texts" if source.inputs.dtype.kind == "i" else "features"
    if erase:
        raise UsageError(f"{source.name} has no pixels to erase", "Leave --erase out.")
    if mirror:
        raise UsageError(f"{source.name} has no pixels to mirror", "Leave --mirror out.")
    if level in (NONE, LIGHT):
        return NO_AUGMENTATION
    if level == STANDARD or kind == "texts":
        more = f"; features are mixed by the level {STRONG}" if kind == "features" else ""
        raise UsageError(
            f"{source.name}: the level {level} of augmentation changes nothing in {kind}{more}", "Leave --augment out."
        )
    return replace(NO_AUGMENTATION, mixup=_MIXUP)
