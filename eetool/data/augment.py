"""Random changes that keep the label, drawn from a generator so that a run can be repeated."""

import torch
from torch import Tensor
from torch.nn import functional

_PAD = 4


def augment(images: Tensor, generator: torch.Generator, mirror: bool) -> Tensor:
    """Shift by up to 4 pixels each way, and mirror half of the images where that is allowed.

    The standard CIFAR augmentation (He et al., arXiv 1512.03385). images: (N, C, H, W) -> (N, C, H, W).
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (_PAD, _PAD, _PAD, _PAD))
    shifts = torch.randint(0, 2 * _PAD + 1, (n, 2), generator=generator)
    rows = shifts[:, :1] + torch.arange(height)  # (N, 1) + (H,) -> (N, H)
    columns = shifts[:, 1:] + torch.arange(width)  # (N, 1) + (W,) -> (N, W)
    if mirror:
        flipped = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    batch = torch.arange(n)[:, None, None]
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
