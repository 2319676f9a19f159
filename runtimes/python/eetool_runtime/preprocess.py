"""Raw input to model input, and the check that an array is one, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .errors import InputError
from .manifest import Input


def preprocess(raw: np.ndarray, spec: Input) -> np.ndarray:
    """Pixels to the model's input at batch 1.

    Args:
        raw: uint8 (H, W) or (H, W, C), of the height, width and channels that `spec` names.

    Returns:
        float32 (1, C, H, W): `(raw * scale - mean) / std`.

    Raises:
        InputError: the bundle holds no preprocessing for this input, or `raw` has another dtype or shape.
    """
    if spec.preprocess is None:
        raise InputError(f"input {spec.name!r}: the bundle holds no preprocessing; bring a finished {_form(spec)}")
    _, channels, height, width = spec.shape
    pixels = np.asarray(raw)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]  # (H, W) -> (H, W, 1)
    if pixels.dtype != np.uint8 or pixels.shape != (height, width, channels):
        raise InputError(
            f"input {spec.name!r}: expected raw pixels uint8 ({height}, {width}, {channels}), "
            f"found {np.asarray(raw).dtype} {np.asarray(raw).shape}"
        )
    return normalise(pixels.transpose(2, 0, 1)[None], spec)  # (H, W, C) -> (1, C, H, W)


def normalise(pixels: np.ndarray, spec: Input) -> np.ndarray:
    """uint8 (N, C, H, W) to float32 of the same shape, by the scale, mean and std of `spec`."""
    rule = spec.preprocess
    if rule is None:
        raise InputError(f"input {spec.name!r}: the bundle holds no preprocessing; bring a finished {_form(spec)}")
    mean = np.array(rule.mean, np.float32).reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
    std = np.array(rule.std, np.float32).reshape(1, -1, 1, 1)  # (C,) -> (1, C, 1, 1)
    return np.ascontiguousarray((pixels.astype(np.float32) * np.float32(rule.scale) - mean) / std)


def check(array: object, spec: Input, *, any_batch: bool = False) -> np.ndarray:
    """Return `array` where it fits `spec`, else raise InputError naming the tensor and what was expected.

    A symbolic dimension fits any size, but the first must be 1 unless `any_batch`. NaN and infinity are refused:
    a gate fed with them would answer nonsense with high confidence.
    """
    if not isinstance(array, np.ndarray):
        raise InputError(f"input {spec.name!r}: expected a numpy array {_form(spec)}, found {type(array).__name__}")
    if array.dtype != spec.dtype:
        raise InputError(
            f"input {spec.name!r}: expected {spec.dtype}, found {array.dtype}",
            "model.preprocess(raw) turns uint8 pixels into the model's input." if array.dtype == np.uint8 else None,
        )
    if not _fits(array.shape, spec, any_batch):
        raise InputError(f"input {spec.name!r}: expected shape {_form(spec)}, found {array.shape}")
    if not finite(array):
        raise InputError(f"input {spec.name!r}: holds NaN or infinite values")
    return array


def finite(array: np.ndarray) -> bool:
    """Whether `array` holds neither NaN nor infinity; integers never do."""
    # A sum is no faster, and warns where large values overflow; a dot product would wake the threads of a BLAS.
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def share_symbols(specs: Sequence[Input]) -> bool:
    """Whether any symbol stands twice in the shapes, so that `check_together` has something to look at."""
    symbols = [size for spec in specs for size in spec.shape if isinstance(size, str)]
    return len(set(symbols)) < len(symbols)


def check_together(arrays: Mapping[str, np.ndarray], specs: Sequence[Input]) -> None:
    """Raise InputError where a symbol of the shapes, such as `batch`, stands for two sizes at once."""
    seen: dict[str, tuple[int, str]] = {}
    for spec in specs:
        for symbol, size in zip(spec.shape, arrays[spec.name].shape):
            if isinstance(symbol, str) and seen.setdefault(symbol, (size, spec.name))[0] != size:
                first = seen[symbol]
                raise InputError(f"input {spec.name!r}: {symbol!r} is {size} here and {first[0]} in input {first[1]!r}")


def _fits(shape: tuple[int, ...], spec: Input, any_batch: bool) -> bool:
    if len(shape) != len(spec.shape) or 0 in shape:
        return False
    if any(isinstance(want, int) and want != got for want, got in zip(spec.shape, shape)):
        return False
    return any_batch or shape[0] == 1


def _form(spec: Input) -> str:
    return f"{spec.dtype} ({', '.join(str(size) for size in spec.shape)})"
