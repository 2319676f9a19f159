"""Numeric arrays from `.mat` files of version 5, the format of SVHN.

The layout is that of MathWorks' "MAT-File Level 5 File Format". A damaged file crashes scipy's reader (1.17) with a
segmentation fault; this reader raises ValueError.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Container, Iterator

import numpy as np

_HEADER_BYTES = 128
_ORDERS = {b"IM": "<", b"MI": ">"}  # the last bytes of the header
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC = range(6, 16)  # array classes that are neither text, cell, structure nor sparse
_COMPLEX = 0x0800
_MAX_BYTES = 1 << 30  # unpacked; four times the larger official file

_Element = tuple[int, memoryview]


def read_mat(data: bytes, wanted: Container[str]) -> dict[str, np.ndarray]:
    """Return the `wanted` arrays by name, in the dtype in which they are stored.

    Raises:
        ValueError: it is no file of version 5, is cut off, unpacks to too much, or a wanted array is not real.
    """
    order = _ORDERS.get(data[_HEADER_BYTES - 2 : _HEADER_BYTES])
    if order is None:
        raise ValueError("it has another header")
    arrays: dict[str, np.ndarray] = {}
    remaining_bytes = _MAX_BYTES
    for kind, content in _elements(memoryview(data)[_HEADER_BYTES:], order):
        if kind == _COMPRESSED:
            unpacked = _unpack(content, remaining_bytes)
            remaining_bytes -= len(unpacked)
            kind, content = next(_elements(memoryview(unpacked), order), (0, content))
        if kind == _MATRIX:
            arrays.update(_matrix(content, order, wanted))
    return arrays


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Yield type and content of every element in order."""
    offset = 0
    while offset + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, offset)
        start = offset + 8
        if kind >> 16:  # a small element: its size is in the word of the type, its content in that of the size
            kind, size, start = kind & 0xFFFF, kind >> 16, offset + 4
            offset += 8
        else:
            offset = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError("it is cut off")
        yield kind, data[start : start + size]


def _unpack(content: memoryview, max_bytes: int) -> bytes:
    try:
        unpacked = zlib.decompressobj().decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(unpacked) > max_bytes:
        raise ValueError(f"it unpacks to more than {_MAX_BYTES} bytes")
    return unpacked


def _matrix(content: memoryview, order: str, wanted: Container[str]) -> dict[str, np.ndarray]:
    """Return the array of an element by its name, or an empty dictionary where it is not wanted."""
    parts = list(itertools.islice(_elements(content, order), 4))  # the fifth would be an imaginary part
    if len(parts) < 4:
        return {}
    (_, flags), (_, sizes), (_, title), (kind, numbers) = parts
    name = bytes(title).decode("latin-1")
    if name not in wanted:
        return {}
    if len(flags) < 4:
        raise ValueError(f"{name} has no flags")
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & 0xFF not in _NUMERIC or flag & _COMPLEX or kind not in _TYPES:
        raise ValueError(f"{name} holds no real numbers")
    shape = np.frombuffer(sizes, f"{order}i4").tolist()
    values = np.frombuffer(numbers, order + _TYPES[kind])
    if min(shape, default=-1) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"{name} holds {len(values)} numbers for the shape {tuple(shape)}")
    return {name: values.astype(values.dtype.newbyteorder("=")).reshape(shape, order="F")}
