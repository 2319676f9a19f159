"""Data augmentation that keeps the label, drawn from a generator so that a run can be repeated.

It is eetool's own code on torch alone: a level gives the same images on every machine (docs/decisions/0039).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eetool.data.image_rows import ImageRows

_ASPECT = 4 / 3  # largest ratio of the sides of a random crop (Inception, arXiv 1409.4842)
_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
_WHITE = 255


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training examples that keep their label.

    Attributes:
        shift: largest shift in each of the four directions, in pixels; zeros come in.
        area: least share of the image that a random crop keeps before it is resized to the whole size; 1 for none.
        mirror: mirror half of the images, left to right.
        colour: largest relative change of brightness and contrast, and of saturation where there are three channels.
        erase: side in pixels of the square that is erased in every image; 0 for none.
        mixup: parameter α of the Beta distribution of the shares in which two examples are mixed; 0 for none.
    """

    shift: int = 4
    area: float = 1.0
    mirror: bool = False
    colour: float = 0.0
    erase: int = 0
    mixup: float = 0.0

    def __str__(self) -> str:
        parts = [
            f"shifts of up to {self.shift} pixels" if self.shift else "",
            f"crops of {100 * self.area:g} to 100 % of the area" if self.area < 1 else "",
            "mirroring" if self.mirror else "",
            f"colours changed by up to {100 * self.colour:g} %" if self.colour else "",
            f"squares of {self.erase} pixels erased" if self.erase else "",
            f"pairs mixed (alpha {self.mixup:g})" if self.mixup else "",
        ]
        return ", ".join(filter(None, parts)) or "none"


NO_AUGMENTATION = Augmentation(shift=0)


@dataclass(frozen=True)
class AugmentationDraw:
    """Random augmentation of N images; None for a change that is not made.

    Attributes:
        shifts: int64 (N, 2), down and right, in [0, 2 × reach]; `reach` is no shift.
        mirrored: bool (N,).
        boxes: float32 (N, 4): middle and half size of a crop, along the width and the height, in [-1, 1].
        colours: float32 (N, 3): factors of brightness, contrast and saturation.
        erased: int64 (N, 2), centre of the erased square.
        shares: float32 (N,) in [0.5, 1]: share of the example itself in a mix of two.
        reach: largest shift in pixels.
        side: side of the erased square in pixels.
    """

    shifts: Tensor | None = None
    mirrored: Tensor | None = None
    boxes: Tensor | None = None
    colours: Tensor | None = None
    erased: Tensor | None = None
    shares: Tensor | None = None
    reach: int = 0
    side: int = 0

    def __getitem__(self, chosen: Tensor) -> "AugmentationDraw":
        return self._map(lambda x: x[chosen])

    def to(self, device: torch.device) -> "AugmentationDraw":
        """Return a copy on another torch device."""
        return self._map(lambda x: x.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "AugmentationDraw":
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            changed[field.name] = change(value) if isinstance(value, Tensor) else value
        return AugmentationDraw(**changed)


def draw_augmentation(
    examples: Tensor | ImageRows, generator: torch.Generator, augmentation: Augmentation = Augmentation()
) -> AugmentationDraw:
    """Draw an augmentation of each example.

    Args:
        examples: images (N, C, H, W); or finished inputs (N, …), which can only be mixed.
        generator: source of randomness.
        augmentation: amounts.
    """
    n, a = len(examples), augmentation
    shifts = torch.randint(0, 2 * a.shift + 1, (n, 2), generator=generator) if a.shift else None
    mirrored = torch.rand(n, generator=generator) < 0.5 if a.mirror else None
    erased = None
    if a.erase:
        erased = torch.stack([torch.randint(0, size, (n,), generator=generator) for size in examples.shape[2:]], 1)
    boxes = _draw_boxes(n, a.area, generator) if a.area < 1 else None
    colours = 1 + a.colour * (2 * torch.rand(n, 3, generator=generator) - 1) if a.colour else None
    shares = _draw_shares(n, a.mixup, generator) if a.mixup else None
    return AugmentationDraw(shifts, mirrored, boxes, colours, erased, shares, a.shift, a.erase)


def _draw_boxes(n: int, area: float, generator: torch.Generator) -> Tensor:
    """Return crops (N, 4) of a uniform share of the area and a log-uniform ratio of sides, at a uniform place."""
    share, ratio, *place = torch.rand(4, n, generator=generator)
    kept = area + (1 - area) * share
    ratio = torch.exp(math.log(_ASPECT) * (2 * ratio - 1))
    halves = [(kept * ratio).sqrt().clamp(max=1), (kept / ratio).sqrt().clamp(max=1)]
    middles = [(1 - half) * (2 * x - 1) for half, x in zip(halves, place, strict=True)]
    return torch.stack([*middles, *halves], 1)


def _draw_shares(n: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Return the larger shares (N,) of pairs whose shares are drawn from Beta(α, α), by Jöhnk's method.

    With α ≤ 1 the method accepts most draws; those that it never accepted are not mixed.
    """
    shares = torch.ones(n)
    waiting = torch.ones(n, dtype=torch.bool)
    for _ in range(64):
        x, y = torch.rand(2, n, generator=generator, dtype=torch.float64) ** (1 / alpha)
        accepted = waiting & (x + y <= 1) & (x + y > 0)
        shares[accepted] = (torch.maximum(x, y) / (x + y))[accepted].float()
        waiting &= ~accepted
    return shares


def augment(images: Tensor, draw: AugmentationDraw) -> Tensor:
    """Return images (N, C, H, W), of the same type, changed as `draw` gives it.

    Shift and mirror are the standard augmentation of CIFAR (He et al., arXiv 1512.03385), the resized crop is that of
    Inception (arXiv 1409.4842). The square is that of Cutout, whose centre may lie at an edge (arXiv 1708.04552).
    """
    if draw.shifts is not None:
        images = _shift(images, draw.shifts, draw.reach)
    if draw.mirrored is not None:
        images = torch.where(draw.mirrored[:, None, None, None], images.flip(3), images)
    if draw.boxes is not None or draw.colours is not None:
        changed = images.float()
        if draw.boxes is not None:
            changed = _crop(changed, draw.boxes)
        if draw.colours is not None:
            changed = _recolour(changed, draw.colours)
        images = changed.round().clamp(0, _WHITE).to(images.dtype)
    if draw.erased is None:
        return images
    rows, columns = (_is_inside(draw.erased[:, i], size, draw.side) for i, size in enumerate(images.shape[2:]))
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def mix(inputs: Tensor, shares: Tensor) -> Tensor:
    """Return float inputs (N, …), each mixed with the one before it in the batch (mixup, arXiv 1710.09412).

    The last one comes before the first. Batches are in random order, so that partners are random.

    Args:
        inputs: (N, …); whole numbers become float32.
        shares: (N,), share of the input itself.
    """
    own = shares.view(-1, *[1] * (inputs.ndim - 1))
    values = inputs if inputs.is_floating_point() else inputs.float()
    return own * values + (1 - own) * values.roll(1, 0)


def _shift(images: Tensor, shifts: Tensor, reach: int) -> Tensor:
    height, width = images.shape[2:]
    padded = functional.pad(images, (reach, reach, reach, reach))
    # A view of all windows of the image's size, such as (N, C, 9, 9, H, W): selecting one per image copies whole rows.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, shifts[:, 0], shifts[:, 1]]  # (N, C, H, W)


def _crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Resize crops of images (N, C, H, W) to the size of the images, bilinearly; no crop is larger than the image."""
    middles, halves = boxes[:, :2], boxes[:, 2:]
    transforms = torch.cat([torch.diag_embed(halves), middles[:, :, None]], 2)  # (N, 2, 3)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _recolour(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply brightness, contrast and saturation of images (N, C, H, W) by factors (N, 3)."""
    brightness, contrast, saturation = (factors[:, i, None, None, None] for i in range(3))
    images = (images * brightness).clamp(0, _WHITE)
    grey = _grey(images)
    middle = grey.mean((2, 3), keepdim=True)
    images = (images - middle) * contrast + middle
    if images.shape[1] != len(_LUMA):
        return images
    grey = _grey(images)
    return grey + (images - grey) * saturation


def _grey(images: Tensor) -> Tensor:
    """Return the grey value (N, 1, H, W) of images of one channel or of RGB."""
    if images.shape[1] != len(_LUMA):
        return images
    weights = torch.tensor(_LUMA, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)


def _is_inside(centres: Tensor, size: int, side: int) -> Tensor:
    """Mark the `side` positions around each of `centres` (N,), among `size` positions: bool (N, size)."""
    first = centres[:, None] - side // 2
    positions = torch.arange(size, device=centres.device)
    return (positions >= first) & (positions < first + side)
