"""Mean and deviation of the pixels of training images, channel by channel."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from eetool.data.image_rows import ImageRows
from eetool.errors import ArtefactError

_CHUNK_BYTES = 1 << 19  # as int64 eight times that
_WHITE = 255


def pixel_statistics(images: Tensor | ImageRows, name: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,) of the pixels, in [0, 1], of images uint8 (N, C, H, W).

    The deviation of a constant channel is 1: normalised, it is 0 in training and on the device. The reader of a
    user's images has said which ones are constant.

    Args:
        images: training images.
        name: name of the data, for messages.

    Raises:
        ArtefactError: all images are one plain colour.
    """
    sums = [_Sums.of(chunk) for chunk in _chunks(images)]
    low, high = torch.stack([s.low for s in sums]).amin(0), torch.stack([s.high for s in sums]).amax(0)  # (C,)
    constant = low == high
    if bool(constant.all()):
        raise ArtefactError(
            f"{name}: every pixel of all {len(images)} training images is {low.tolist()}, so they tell nothing",
            "Look at how the images were written: as numbers from 0 to 255?",
        )
    count = images.shape.numel() // images.shape[1]  # pixels of a channel
    total, squares = (torch.stack(x).sum(0).double() for x in ([s.total for s in sums], [s.squares for s in sums]))
    mean = total / count
    std = ((squares - total * mean).clamp(min=0) / max(1, count - 1)).sqrt() / _WHITE
    return (mean / _WHITE).float(), torch.where(constant, torch.ones_like(std), std).float()


class _Sums(NamedTuple):
    """Exact whole numbers (C,) about the pixels of some images."""

    low: Tensor
    high: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, images: Tensor) -> "_Sums":
        axes = (0, 2, 3)  # (N, C, H, W) -> (C,)
        squares = images.int().square_().sum(axes, dtype=torch.int64)
        return cls(images.amin(axes), images.amax(axes), images.sum(axes, dtype=torch.int64), squares)


def _chunks(images: Tensor | ImageRows) -> Iterator[Tensor]:
    """Yield the images in parts, because more of them may be in a file than fit into memory."""
    step = max(1, _CHUNK_BYTES // max(1, images.shape[1:].numel()))
    for start in range(0, len(images), step):
        yield images[start : start + step]
