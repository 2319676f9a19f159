"""Tables of a flatbuffer, where they lie. Whatever leads out of the file is refused.

Not taken from a library: a device has numpy and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Optional

_U16, _I32, _U32, _U64 = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")
_MAX_TABLES = 1 << 20  # tables may be shared, so that a short file unfolds without end


class Flatbuffer:
    """The bytes of a file, and how many of its tables were visited. All reads raise ValueError outside the file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._visited = 0

    def root(self) -> Table:
        """The table that holds everything."""
        return self._table(0)

    def _table(self, place: int) -> Table:
        """The table that the offset at `place` leads to."""
        self._visited += 1
        if self._visited > _MAX_TABLES:
            raise ValueError("it has too many tables")
        return Table(self, place + self._read(_U32, place))

    def _read(self, form: struct.Struct, at: int) -> int:
        if not 0 <= at <= len(self._data) - form.size:  # a negative place would count from the end
            raise ValueError("an offset leads out of the file")
        value: int = form.unpack_from(self._data, at)[0]
        return value


class Table:
    """One table. A field is known by its index in the schema, and one that is not there is 0 or empty."""

    def __init__(self, file: Flatbuffer, at: int) -> None:
        self._file, self._at = file, at
        self._fields = at - file._read(_I32, at)
        self._fields_size = file._read(_U16, self._fields)
        if self._fields_size % _U16.size:
            raise ValueError("a list of fields has an odd size")

    def uint32(self, index: int) -> int:
        """A number of 4 bytes."""
        return self._number(index, _U32)

    def uint64(self, index: int) -> int:
        """A number of 8 bytes."""
        return self._number(index, _U64)

    def length(self, index: int) -> int:
        """How many elements a vector has."""
        start = self._vector(index)
        return 0 if start is None else self._file._read(_U32, start)

    def tables(self, index: int) -> Iterator[Table]:
        """The tables of a vector."""
        start = self._vector(index)
        if start is not None:
            for i in range(self._file._read(_U32, start)):
                yield self._file._table(start + _U32.size * (i + 1))

    def _number(self, index: int, form: struct.Struct) -> int:
        at = self._field(index)
        return 0 if at is None else self._file._read(form, at)

    def _vector(self, index: int) -> Optional[int]:
        at = self._field(index)
        return None if at is None else at + self._file._read(_U32, at)

    def _field(self, index: int) -> Optional[int]:
        entry = 2 * _U16.size + index * _U16.size  # behind the sizes of this list and of the table
        if entry + _U16.size > self._fields_size:
            return None
        offset = self._file._read(_U16, self._fields + entry)
        return self._at + offset if offset else None
