"""Resizing of pictures to the size of a model: crop, pad or stretch, with an antialiased bilinear filter.

The rule is that of `docs/bundle-format.md`. Pictures in arrays need numpy alone; the result differs from Pillow's by at
most 1 of 255, because Pillow rounds between the two passes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .manifest import CROP, PAD

PAD_VALUE = 114  # grey of about the mean of photographs: 0.449 of ImageNet's pixels
_BLOCK = 8  # outputs per matrix product: more compute zeros, fewer take more calls


class Span(NamedTuple):
    """One axis of a resizing.

    Attributes:
        start: where the used part of the picture begins, in pixels.
        stop: where it ends.
        size: pixels that it becomes.
        offset: pixels before these in the result, which are padding.
    """

    start: float
    stop: float
    size: int
    offset: int = 0


class _Band(NamedTuple):
    """Weights (outputs, inputs) of some neighbouring outputs: `first` the first one, `low` the first input."""

    first: int
    low: int
    weights: np.ndarray


def fit_spans(height: int, width: int, target: tuple[int, int], fit: str) -> tuple[Span, Span]:
    """Return the spans of rows and columns that bring a picture of `height` × `width` to `target`.

    Args:
        height: rows of the picture.
        width: columns of the picture.
        target: rows and columns of the result.
        fit: `crop` uses the largest centred part with the proportions of the result, `pad` the whole picture inside
            the result, `stretch` the whole picture with changed proportions.
    """
    rows, columns = target
    is_wide = width * rows > height * columns  # than the result
    if fit == CROP:
        used_height = float(height) if is_wide else width * rows / columns
        used_width = height * columns / rows if is_wide else float(width)
        top, left = (height - used_height) / 2, (width - used_width) / 2
        return Span(top, top + used_height, rows), Span(left, left + used_width, columns)
    if fit == PAD:
        inner_rows = _rounded(height * columns, width) if is_wide else rows
        inner_columns = columns if is_wide else _rounded(width * rows, height)
        return (
            Span(0.0, float(height), inner_rows, (rows - inner_rows) // 2),
            Span(0.0, float(width), inner_columns, (columns - inner_columns) // 2),
        )
    return Span(0.0, float(height), rows), Span(0.0, float(width), columns)


def resize(pixels: np.ndarray, target: tuple[int, int], fit: str) -> np.ndarray:
    """Return pixels uint8 (H, W, C) as uint8 (rows, columns, C) of the size `target`."""
    if pixels.shape[:2] == target:
        return pixels
    rows, columns = fit_spans(pixels.shape[0], pixels.shape[1], target, fit)
    down = _bands(pixels.shape[0], rows.start, rows.stop, rows.size)
    across = _bands(pixels.shape[1], columns.start, columns.stop, columns.size)
    low, high = across[0].low, across[-1].low + across[-1].weights.shape[1]
    channels = pixels.shape[2]
    # (H, W, C) -> (rows, W, C) -> (W, rows, C) -> (columns, rows, C)
    part = _apply(down, pixels[:, low:high], 0, rows.size).reshape(rows.size, high - low, channels)
    part = _apply(across, part.transpose(1, 0, 2), low, columns.size).reshape(columns.size, rows.size, channels)
    part += np.float32(0.5)  # weights are positive and sum to 1, so nothing is below 0 or above 255
    resized = part.transpose(1, 0, 2).astype(np.uint8)
    if resized.shape[:2] == target:
        return resized
    padded = np.full((*target, channels), PAD_VALUE, np.uint8)
    padded[rows.offset : rows.offset + rows.size, columns.offset : columns.offset + columns.size] = resized
    return padded


def _apply(bands: tuple[_Band, ...], values: np.ndarray, origin: int, size: int) -> np.ndarray:
    """Return float32 (size, …) of values (n, …), whose first is the input number `origin`, in two dimensions."""
    result = np.empty((size, values[0].size), np.float32)
    for band in bands:
        count, width = band.weights.shape
        block = values[band.low - origin : band.low - origin + width].astype(np.float32).reshape(width, -1)
        np.matmul(band.weights, block, out=result[band.first : band.first + count])
    return result


@lru_cache(maxsize=32)
def _bands(available: int, start: float, stop: float, size: int) -> tuple[_Band, ...]:
    """Return the weights of an axis: triangles as wide as an output, on `available` inputs.

    Pillow keeps `start` and `stop` as float32, and so does this.
    """
    first, last = np.float32(start), np.float32(stop)
    scale = float(last - first) / size
    reach = max(scale, 1.0)
    centres = float(first) + (np.arange(size) + 0.5) * scale
    lows = np.maximum(np.floor(centres - reach).astype(int), 0)
    highs = np.minimum(np.ceil(centres + reach).astype(int), available)
    bands = []
    for begin in range(0, size, _BLOCK):
        end = min(begin + _BLOCK, size)
        low, high = int(lows[begin]), int(highs[end - 1])
        distance = np.abs(np.arange(low, high) + 0.5 - centres[begin:end, None]) / reach
        weights = np.maximum(1.0 - distance, 0.0)
        weights /= weights.sum(1, keepdims=True)
        bands.append(_Band(begin, low, weights.astype(np.float32)))
    return tuple(bands)


def _rounded(product: int, divisor: int) -> int:
    """Return product / divisor, rounded half up, and at least 1."""
    return max(1, (2 * product + divisor) // (2 * divisor))
