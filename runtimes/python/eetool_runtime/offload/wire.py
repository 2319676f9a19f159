"""Encoding of the tensors that travel. The rule and worked numbers are in docs/offload.md."""

from __future__ import annotations

from typing import Callable, Optional

import numpy as np

from ..manifest import Input, Manifest
from ..manifest_offload import OffloadInput

Encoder = Callable[[np.ndarray], np.ndarray]

_FP16_MAX = np.float32(65504)
_BYTE_MAX = np.float32(255)


def encoders(m: Manifest, inputs: tuple[OffloadInput, ...]) -> list[tuple[OffloadInput, Encoder]]:
    """Return for each tensor that travels the function that encodes it."""
    specs = {i.name: i for i in m.inputs}
    return [(i, _encoder(i, specs.get(i.tensor), _dtype(m, i.tensor))) for i in inputs]


def _dtype(m: Manifest, name: str) -> str:
    return m.tensors[name].dtype if name in m.tensors else next(i.dtype for i in m.inputs if i.name == name)


def _encoder(sent: OffloadInput, spec: Optional[Input], dtype: str) -> Encoder:
    if dtype != "float32" or sent.dtype == "FP32":
        return np.ascontiguousarray
    if sent.dtype == "FP16":
        return to_fp16
    if sent.scale is not None and sent.zero_point is not None:
        scale, zero_point = sent.scale, sent.zero_point
        return lambda x: to_uint8(x, scale, zero_point)
    assert spec is not None
    pixels_of = spec
    return lambda x: to_pixels(x, pixels_of)


def to_fp16(x: np.ndarray) -> np.ndarray:
    """Return float32 as float16, rounded half to even; magnitudes above 65504 become 65504."""
    halves: np.ndarray = np.clip(x, -_FP16_MAX, _FP16_MAX).astype(np.float16)
    return halves


def to_uint8(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return `clip(round_half_even(x / scale) + zero_point, 0, 255)`, in float32."""
    return _bytes(np.rint(x / np.float32(scale)) + np.float32(zero_point))


def to_pixels(x: np.ndarray, spec: Input) -> np.ndarray:
    """Return the pixels that `preprocess` made `x` of, as uint8 (batch, channels, height, width)."""
    assert spec.preprocess is not None
    rule, shape = spec.preprocess, (1, -1, 1, 1)
    mean, std = (np.array(values, np.float32).reshape(shape) for values in (rule.mean, rule.std))
    return _bytes(np.rint((x * std + mean) / np.float32(rule.scale)))


def _bytes(numbers: np.ndarray) -> np.ndarray:
    limited: np.ndarray = np.clip(numbers, np.float32(0), _BYTE_MAX).astype(np.uint8)
    return limited
