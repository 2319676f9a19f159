"""Reader for the tables of a flatbuffer. Offsets that point outside the file are refused.

Written by hand because the runtime depends on numpy alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Optional

_U8, _U16, _I32, _U32 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I")
_I64, _U64, _F32 = struct.Struct("<q"), struct.Struct("<Q"), struct.Struct("<f")
_MAX_TABLES = 1 << 20  # shared tables could make a short file expand without end


class Flatbuffer:
    """The bytes of a file, with a count of the tables read so far. Reads outside the file raise ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._visited = 0

    def root(self) -> FlatbufferTable:
        """Return the root table."""
        return self._table(0)

    def _table(self, place: int) -> FlatbufferTable:
        """Return the table that the offset at `place` points to."""
        self._visited += 1
        if self._visited > _MAX_TABLES:
            raise ValueError("it has too many tables")
        return FlatbufferTable(self, place + self._read(_U32, place))

    def _read(self, form: struct.Struct, at: int) -> int:
        value: int = self._unpack(form, at)[0]
        return value

    def _unpack(self, form: struct.Struct, at: int) -> tuple[Any, ...]:
        if not 0 <= at <= len(self._data) - form.size:  # a negative place would count from the end
            raise ValueError("an offset points out of the file")
        return form.unpack_from(self._data, at)


class FlatbufferTable:
    """One table. Fields are read by their index in the schema; an absent field is 0 or empty."""

    def __init__(self, file: Flatbuffer, at: int) -> None:
        self._file, self._at = file, at
        self._fields = at - file._read(_I32, at)
        self._fields_size = file._read(_U16, self._fields)
        if self._fields_size % _U16.size:
            raise ValueError("a list of fields has an odd size")

    def uint8(self, index: int) -> int:
        """Return an unsigned number of 1 byte."""
        return self._number(index, _U8)

    def uint32(self, index: int) -> int:
        """Return an unsigned number of 4 bytes."""
        return self._number(index, _U32)

    def uint64(self, index: int) -> int:
        """Return an unsigned number of 8 bytes."""
        return self._number(index, _U64)

    def length(self, index: int) -> int:
        """Return the number of elements of a vector."""
        start = self._vector(index)
        return 0 if start is None else self._file._read(_U32, start)

    def tables(self, index: int) -> Iterator[FlatbufferTable]:
        """Yield the tables of a vector."""
        start = self._vector(index)
        if start is not None:
            for i in range(self._file._read(_U32, start)):
                yield self._file._table(start + _U32.size * (i + 1))

    def table(self, index: int) -> Optional[FlatbufferTable]:
        """Return a single table, or None where it is absent."""
        at = self._field(index)
        return None if at is None else self._file._table(at)

    def int32s(self, index: int) -> tuple[int, ...]:
        """Return a vector of signed numbers of 4 bytes."""
        return self._numbers(index, _I32)

    def int64s(self, index: int) -> tuple[int, ...]:
        """Return a vector of signed numbers of 8 bytes."""
        return self._numbers(index, _I64)

    def float32s(self, index: int) -> tuple[float, ...]:
        """Return a vector of floating-point numbers of 4 bytes."""
        return self._numbers(index, _F32)

    def text(self, index: int) -> str:
        """Return a text; raises ValueError where it is not UTF-8."""
        return bytes(self._numbers(index, _U8)).decode("utf-8")

    def _numbers(self, index: int, form: struct.Struct) -> tuple[Any, ...]:
        start = self._vector(index)
        if start is None:
            return ()
        count = self._file._read(_U32, start)
        if count > len(self._file._data):
            raise ValueError("a vector is longer than the file")
        return self._file._unpack(struct.Struct(f"<{count}{form.format[-1]}"), start + _U32.size)

    def _number(self, index: int, form: struct.Struct) -> int:
        at = self._field(index)
        return 0 if at is None else self._file._read(form, at)

    def _vector(self, index: int) -> Optional[int]:
        at = self._field(index)
        return None if at is None else at + self._file._read(_U32, at)

    def _field(self, index: int) -> Optional[int]:
        entry = 2 * _U16.size + index * _U16.size  # after the sizes of this list and of the table
        if entry + _U16.size > self._fields_size:
            return None
        offset = self._file._read(_U16, self._fields + entry)
        return self._at + offset if offset else None
