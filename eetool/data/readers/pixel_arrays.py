"""Checks of arrays that are given as pixels: their type, their layout, and what to store instead."""

import numpy as np

from eetool.errors import ArtefactError

_CHANNELS = range(1, 5)  # of an image: grey, grey and alpha, RGB, RGB and alpha
_SURE_CHANNELS = (1, 3)
_WHITE, _WHITE_16 = 255, 65535


def check_pixels(where: str, images: np.ndarray) -> None:
    """Raise ArtefactError where `images` are not uint8 (N, C, H, W); the hint says what to store.

    Args:
        where: file and array, for messages.
        images: array of any dtype and shape.
    """
    found = f"{where} are {images.dtype} {images.shape}, not uint8 (N, C, H, W)"
    if images.dtype != np.uint8:
        raise ArtefactError(found, _type_hint(images))
    if images.ndim == 3:
        raise ArtefactError(found, "Store images[:, None], which has one channel.")
    if images.ndim != 4:
        raise ArtefactError(found, "Store one image after the other, the channels first: (N, C, H, W).")
    if _channels_are_last(*images.shape[1:]):
        raise ArtefactError(
            f"{where} {images.shape} would have {images.shape[1]} channels of {images.shape[2]}×{images.shape[3]} "
            "pixels: the channels seem to be last",
            "Store images.transpose(0, 3, 1, 2), which is (N, C, H, W).",
        )


def odd_channels(images: np.ndarray) -> str | None:
    """Return a line about `images` (N, C, H, W) with an unusual number of channels, or None."""
    _, channels, height, width = images.shape
    return None if channels in _CHANNELS else f"read as images of {channels} channels, {height}×{width} pixels"


def flat_images(images: np.ndarray) -> str | None:
    """Return a line about images of one colour only, or None."""
    if not images.size:
        return None
    flat = (images.min((2, 3)) == images.max((2, 3))).all(1)
    if not flat.any():
        return None
    return (
        f"warning: {np.count_nonzero(flat)} of {len(flat)} images are of one colour only, the first is {flat.argmax()}"
    )


def _channels_are_last(first: int, second: int, last: int) -> bool:
    """Return whether (first, second, last) is rather (H, W, C) than (C, H, W). Images are mostly square."""
    if first in _CHANNELS and last in _CHANNELS:  # a very small image
        return second != last and (first == second or first not in _SURE_CHANNELS)
    if first in _CHANNELS or last in _CHANNELS:
        return last in _CHANNELS
    return first == second != last


def _type_hint(images: np.ndarray) -> str:
    """Return the hint for images of another type than uint8, by the range of their values."""
    finished = "Finished inputs, such as normalised ones, are `features`."
    if images.dtype.kind == "b":
        return "Store images.astype(np.uint8) * 255."
    if images.dtype.kind not in "iuf" or not images.size:
        return "Pixels are whole numbers from 0, black, to 255, white."
    low, high = images.min(), images.max()
    span = f"They are from {low:g} to {high:g}; pixels are whole numbers from 0 to 255."
    if not low >= 0:  # also for NaN
        return f"{span} {finished}"
    if images.dtype.kind == "f" and high <= 1:
        return f"{span} If white is 1, store np.rint(images * 255).astype(np.uint8). {finished}"
    if high <= _WHITE:
        return f"{span} If white is 255, store np.rint(images).astype(np.uint8). {finished}"
    if images.dtype.kind != "f" and high <= _WHITE_16:
        return f"{span} If white is 65535, store (images // 257).astype(np.uint8)."
    return f"{span} {finished}"
