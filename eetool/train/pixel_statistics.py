"""Mean and deviation of the pixels of training images, channel by channel."""

from collections.abc import Iterator

import torch
from torch import Tensor

from eetool.data.image_rows import ImageRows
from eetool.errors import ArtefactError

_CHUNK_BYTES = 1 << 19  # as int64 eight times that
_WHITE = 255
_PIXELS = (0, 2, 3)  # axes: (N, C, H, W) -> (C,)


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
    # Kept in place: small tensors between those of the chunks would keep the allocator from using their memory again.
    channels = images.shape[1]
    low, high = images[:1].amin(_PIXELS), images[:1].amax(_PIXELS)
    total, squares = torch.zeros(channels, dtype=torch.int64), torch.zeros(channels, dtype=torch.int64)
    for chunk in _chunks(images):  # whole numbers, so exact
        torch.minimum(low, chunk.amin(_PIXELS), out=low)
        torch.maximum(high, chunk.amax(_PIXELS), out=high)
        total += chunk.sum(_PIXELS, dtype=torch.int64)
        squares += chunk.int().square_().sum(_PIXELS, dtype=torch.int64)
    constant = low == high
    if bool(constant.all()):
        raise ArtefactError(
            f"{name}: every pixel of all {len(images)} training images is {low.tolist()}, so they tell nothing",
            "Look at how the images were written: as numbers from 0 to 255?",
        )
    count = images.shape.numel() // images.shape[1]  # pixels of a channel
    mean = total.double() / count
    std = ((squares.double() - total * mean).clamp(min=0) / max(1, count - 1)).sqrt() / _WHITE
    return (mean / _WHITE).float(), torch.where(constant, torch.ones_like(std), std).float()


def _chunks(images: Tensor | ImageRows) -> Iterator[Tensor]:
    """Yield the images in parts, because more of them may be in a file than fit into memory."""
    step = max(1, _CHUNK_BYTES // max(1, images.shape[1:].numel()))
    for start in range(0, len(images), step):
        yield images[start : start + step]
