"""Random changes that keep the label, drawn from a generator so that a run can be repeated."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_PAD = 4


@dataclass(frozen=True)
class AugmentationDraw:
    """What happens to each of N images.

    `shifts` int64 (N, 2) down and right in [0, 8], `mirrored` bool (N,), and where a square of `side` pixels is erased
    the middle of it, `erased` int64 (N, 2).
    """

    shifts: Tensor
    mirrored: Tensor
    erased: Tensor | None = None
    side: int = 0

    def __getitem__(self, chosen: Tensor) -> "AugmentationDraw":
        erased = None if self.erased is None else self.erased[chosen]
        return AugmentationDraw(self.shifts[chosen], self.mirrored[chosen], erased, self.side)

    def to(self, device: torch.device) -> "AugmentationDraw":
        """The same on another torch device."""
        erased = None if self.erased is None else self.erased.to(device)
        return AugmentationDraw(self.shifts.to(device), self.mirrored.to(device), erased, self.side)


def draw_augmentation(images: Tensor, generator: torch.Generator, mirror: bool, erase: int = 0) -> AugmentationDraw:
    """Moves of `images` (N, C, H, W); half of them are mirrored where that is allowed.

    Args:
        erase: side of the square that is erased in every image, in pixels; 0 for none.
    """
    n = len(images)
    shifts = torch.randint(0, 2 * _PAD + 1, (n, 2), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5 if mirror else torch.zeros(n, dtype=torch.bool)
    if not erase:
        return AugmentationDraw(shifts, mirrored)
    middles = [torch.randint(0, size, (n,), generator=generator) for size in images.shape[2:]]
    return AugmentationDraw(shifts, mirrored, torch.stack(middles, 1), erase)


def augment(images: Tensor, moves: AugmentationDraw) -> Tensor:
    """Shift by up to 4 pixels each way over a ground of zeros, mirror where `moves` say so, erase a square.

    Shifts and mirrors are the standard CIFAR augmentation (He et al., arXiv 1512.03385), the square is Cutout's, whose
    middle may lie at an edge (DeVries and Taylor, arXiv 1708.04552). images: (N, C, H, W) -> (N, C, H, W).
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (_PAD, _PAD, _PAD, _PAD))
    # Every window of the image's size as a view: (N, C, 9, 9, H, W); taking one per image copies whole rows.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    moved = windows[torch.arange(n, device=images.device), :, moves.shifts[:, 0], moves.shifts[:, 1]]  # (N, C, H, W)
    moved = torch.where(moves.mirrored[:, None, None, None], moved.flip(3), moved)
    if moves.erased is None:
        return moved
    rows, columns = (_near(moves.erased[:, i], size, moves.side) for i, size in enumerate((height, width)))
    return moved.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def _near(middles: Tensor, size: int, side: int) -> Tensor:
    """Whether each of `size` places lies in the `side` places around each of `middles` (N,): bool (N, size)."""
    first = middles[:, None] - side // 2
    places = torch.arange(size, device=middles.device)
    return (places >= first) & (places < first + side)
