"""Chosen rows of a large array that stays on disk: examples are copied when they are used, a few at a time."""

import math
from collections.abc import Sequence

import numpy as np

# Inputs of one forward pass. Activations of more do not stay in the caches of a processor between two layers. Fastest
# were 2 to 4 images of 224 pixels, 8 to 16 of 128 (EfficientNet-Lite0, MobileNetV2) and 32 to 64 of 32 (ResNets).
_PASS_VALUES, _PASS_ROWS = 1 << 19, 64
Key = int | slice | np.ndarray


class Rows:
    """The rows `indices` of `array`, as an array of its own that copies nothing until it is indexed.

    Args:
        array: (N, …), such as a memory-mapped file.
        indices: int64 (n,).
    """

    def __init__(self, array: np.ndarray, indices: np.ndarray) -> None:
        self._array, self._indices = array, indices
        self.shape: tuple[int, ...] = (len(indices), *array.shape[1:])
        self.dtype, self.ndim = array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, key: Key) -> np.ndarray:
        """Return a copy of one row or of some."""
        rows: np.ndarray = np.asarray(self._array[self._indices[key]])
        return rows


def rows_per_pass(shape: Sequence[int]) -> int:
    """Return how many examples of this shape (…) a forward pass takes: fewer where they are large.

    This bounds the memory of activations, whatever the number of examples, and is faster than larger passes.
    """
    return max(1, min(_PASS_ROWS, _PASS_VALUES // max(1, math.prod(shape))))


Examples = np.ndarray | Rows


def take(array: np.ndarray, indices: np.ndarray) -> Examples:
    """Return the rows `indices` of `array`: a copy, or `Rows` where the array is a memory-mapped file."""
    return Rows(array, indices) if isinstance(array, np.memmap) else array[indices]
