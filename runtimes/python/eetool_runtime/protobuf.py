"""Reader for the fields of a protocol buffer, stricter than the format where parsers disagree.

Written by hand because the runtime depends on numpy alone.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Union

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; groups are not accepted
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
_VALUE_BITS, _TAG_BITS, _SIZE_BITS = 64, 32, 31

Data = Union[bytes, mmap.mmap]


def fields(data: Data, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, start and stop of each field of the message at `at:end`.

    For a varint, `start` is its value.

    Raises:
        ValueError: the message is truncated, has groups, or holds a number with more bits than allowed.
            Some parsers drop such bits and others refuse them, so they could hide a field.
    """
    while at < end:
        tag, at = _varint(data, at, end, _TAG_BITS)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if kind == VARINT:
            value, at = _varint(data, at, end, _VALUE_BITS)
            yield number, kind, value, at
            continue
        if kind == BYTES:
            size, at = _varint(data, at, end, _SIZE_BITS)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError(f"unknown wire type {kind}")
        if size > end - at:
            raise ValueError("a field is longer than the message around it")
        yield number, kind, at, at + size
        at += size


def _varint(data: Data, at: int, end: int, bits: int) -> tuple[int, int]:
    """Return the number at `at` and the position after it."""
    value = shift = 0
    while at < end:
        if shift >= bits:
            raise ValueError(f"a number has more bytes than {bits} bits need")
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            if value >> bits:
                raise ValueError(f"a number has more than {bits} bits")
            return value, at
    raise ValueError("it ends within a number")
