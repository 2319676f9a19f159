"""Raw contents of tensors, as the Open Inference Protocol v2 has them: little-endian, in row-major order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import WRONG_SHAPE, ServerRefused

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "UINT8": np.dtype("u1"),
    "INT8": np.dtype("i1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
_PROTOCOL_TYPES = {dtype: name for name, dtype in NUMPY_TYPES.items()}
_MAX_RANK = 8


def datatype_of(array: np.ndarray) -> str:
    """Return the protocol's name for the dtype of an array."""
    return _PROTOCOL_TYPES[array.dtype.newbyteorder("<")]


def raw_contents(array: np.ndarray) -> bytes:
    """Return the raw contents of an array."""
    raw: bytes = array.astype(NUMPY_TYPES[datatype_of(array)], copy=False).tobytes()
    return raw


def array_of(name: str, datatype: object, shape: Sequence[Any], raw: bytes) -> np.ndarray:
    """Return the array that a server describes; it may be read only.

    Raises:
        ServerRefused: the type is unknown, or the shape does not fit the number of bytes.
    """
    dtype = NUMPY_TYPES.get(datatype) if isinstance(datatype, str) else None
    sizes = tuple(shape)
    if dtype is None or len(sizes) > _MAX_RANK or not all(type(size) is int and size >= 0 for size in sizes):
        raise ServerRefused(WRONG_SHAPE, f"the output {name!r} has an unknown type or shape")
    elements = 1
    for size in sizes:
        elements *= size
    if elements * dtype.itemsize != len(raw):
        raise ServerRefused(WRONG_SHAPE, f"the output {name!r} has {len(raw)} bytes, which is not its shape's number")
    array: np.ndarray = np.frombuffer(raw, dtype).reshape(sizes)
    return array
