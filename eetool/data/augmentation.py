"""Data augmentation that keeps the label, drawn from a generator so that a run can be repeated."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from eetool.data.image_rows import ImageRows

_PAD = 4  # pixels


@dataclass(frozen=True)
class AugmentationDraw:
    """Random augmentation of N images.

    Attributes:
        shifts: int64 (N, 2), down and right, in [0, 8].
        mirrored: bool (N,).
        erased: int64 (N, 2), centre of the erased square; None for no erasing.
        side: side of the erased square in pixels.
    """

    shifts: Tensor
    mirrored: Tensor
    erased: Tensor | None = None
    side: int = 0

    def __getitem__(self, chosen: Tensor) -> "AugmentationDraw":
        erased = None if self.erased is None else self.erased[chosen]
        return AugmentationDraw(self.shifts[chosen], self.mirrored[chosen], erased, self.side)

    def to(self, device: torch.device) -> "AugmentationDraw":
        """Return a copy on another torch device."""
        erased = None if self.erased is None else self.erased.to(device)
        return AugmentationDraw(self.shifts.to(device), self.mirrored.to(device), erased, self.side)


def draw_augmentation(
    images: Tensor | ImageRows, generator: torch.Generator, mirror: bool, erase: int = 0
) -> AugmentationDraw:
    """Draw an augmentation of each image.

    Args:
        images: (N, C, H, W).
        generator: source of randomness.
        mirror: mirror half of the images.
        erase: side of the square that is erased in every image, in pixels; 0 for none.
    """
    n = len(images)
    shifts = torch.randint(0, 2 * _PAD + 1, (n, 2), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5 if mirror else torch.zeros(n, dtype=torch.bool)
    if not erase:
        return AugmentationDraw(shifts, mirrored)
    centres = [torch.randint(0, size, (n,), generator=generator) for size in images.shape[2:]]
    return AugmentationDraw(shifts, mirrored, torch.stack(centres, 1), erase)


def augment(images: Tensor, draw: AugmentationDraw) -> Tensor:
    """Shift by up to 4 pixels each way with zero padding, mirror, and erase a square, as `draw` gives it.

    Shift and mirror are the standard CIFAR augmentation (He et al., arXiv 1512.03385). The square is that of Cutout,
    whose centre may lie at an edge (DeVries and Taylor, arXiv 1708.04552).

    Args:
        images: (N, C, H, W).
        draw: the augmentation of these images.

    Returns:
        (N, C, H, W).
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (_PAD, _PAD, _PAD, _PAD))
    # A view of all windows of the image's size, (N, C, 9, 9, H, W): selecting one per image copies whole rows.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    shifted = windows[torch.arange(n, device=images.device), :, draw.shifts[:, 0], draw.shifts[:, 1]]  # (N, C, H, W)
    shifted = torch.where(draw.mirrored[:, None, None, None], shifted.flip(3), shifted)
    if draw.erased is None:
        return shifted
    rows, columns = (_is_inside(draw.erased[:, i], size, draw.side) for i, size in enumerate((height, width)))
    return shifted.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _is_inside(centres: Tensor, size: int, side: int) -> Tensor:
    """Mark the `side` positions around each of `centres` (N,), among `size` positions: bool (N, size)."""
    first = centres[:, None] - side // 2
    positions = torch.arange(size, device=centres.device)
    return (positions >= first) & (positions < first + side)
