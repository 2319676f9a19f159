"""Random changes that keep the label, drawn from a generator so that a run can be repeated."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_PAD = 4


@dataclass(frozen=True)
class Moves:
    """What happens to each of N images: `shifts` int64 (N, 2) down and right in [0, 8], `mirrored` bool (N,)."""

    shifts: Tensor
    mirrored: Tensor

    def __getitem__(self, chosen: Tensor) -> "Moves":
        return Moves(self.shifts[chosen], self.mirrored[chosen])


def draw(n: int, generator: torch.Generator, mirror: bool) -> Moves:
    """Moves of `n` images; half of them are mirrored where that is allowed."""
    shifts = torch.randint(0, 2 * _PAD + 1, (n, 2), generator=generator)
    mirrored = torch.rand(n, generator=generator) < 0.5 if mirror else torch.zeros(n, dtype=torch.bool)
    return Moves(shifts, mirrored)


def augment(images: Tensor, moves: Moves) -> Tensor:
    """Shift by up to 4 pixels each way over a ground of zeros, and mirror where `moves` say so.

    The standard CIFAR augmentation (He et al., arXiv 1512.03385). images: (N, C, H, W) -> (N, C, H, W).
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (_PAD, _PAD, _PAD, _PAD))
    # Every window of the image's size as a view: (N, C, 9, 9, H, W); taking one per image copies whole rows.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    moved = windows[torch.arange(n), :, moves.shifts[:, 0], moves.shifts[:, 1]]  # (N, C, H, W)
    return torch.where(moves.mirrored[:, None, None, None], moved.flip(3), moved)
