"""Mean and deviation of the pixels of training images, channel by channel."""

import torch
from torch import Tensor

from eetool.errors import ArtefactError


def pixel_statistics(images: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (C,) of the pixels, in [0, 1], of images uint8 (N, C, H, W).

    The deviation of a constant channel is 1: normalised, it is 0 in training and on the device. The reader of a
    user's images has said which ones are constant.

    Args:
        images: training images.
        name: name of the data, for messages.

    Raises:
        ArtefactError: all images are one plain colour.
    """
    low, high = images.amin((0, 2, 3)), images.amax((0, 2, 3))  # (N, C, H, W) -> (C,)
    constant = low == high
    if bool(constant.all()):
        raise ArtefactError(
            f"{name}: every pixel of all {len(images)} training images is {low.tolist()}, so they tell nothing",
            "Look at how the images were written: as numbers from 0 to 255?",
        )
    pixels = images.float() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    return mean, torch.where(constant, torch.ones_like(std), std)
