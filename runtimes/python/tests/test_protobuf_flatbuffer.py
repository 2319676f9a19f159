"""Readers of protocol buffers and flatbuffers: invalid numbers, sizes and offsets are refused."""

from __future__ import annotations

import struct

import pytest

from eetool_runtime import protobuf
from eetool_runtime.flatbuffer import Flatbuffer
from eetool_runtime.protobuf import BYTES, FIXED32, FIXED64, VARINT, fields


def read(data: bytes) -> list[tuple[int, int, int, int]]:
    return list(fields(data, 0, len(data)))


@pytest.mark.parametrize(
    ("data", "actual"),
    [
        (b"", []),
        (b"\x08\x05", [(1, VARINT, 5, 2)]),
        (b"\x0a\x02ab", [(1, BYTES, 2, 4)]),
        (b"\x09" + bytes(8) + b"\x0d" + bytes(4), [(1, FIXED64, 1, 9), (1, FIXED32, 10, 14)]),
        (b"\x88\x80\x80\x80\x00\x05", [(1, VARINT, 5, 6)]),
        (b"\xf8\xff\xff\xff\x0f\x05", [((1 << 29) - 1, VARINT, 5, 6)]),
        (b"\x08" + b"\xff" * 9 + b"\x01", [(1, VARINT, (1 << 64) - 1, 11)]),
        (b"\x0a\x82\x80\x80\x80\x00ab", [(1, BYTES, 6, 8)]),
    ],
)
def test_fields_valid_message_is_read(data: bytes, actual: list[tuple[int, int, int, int]]) -> None:
    assert read(data) == actual


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x88\x80\x80\x80\x10\x05", "more than 32 bits"),
        (b"\x88\x80\x80\x80\x80\x00\x05", "more bytes than 32 bits need"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x08" + b"\x80" * 10 + b"\x00", "more bytes than 64 bits need"),
        (b"\x0a\x80\x80\x80\x80\x08", "more than 31 bits"),
        (b"\x0a\x80\x80\x80\x80\x80\x00", "more bytes than 31 bits need"),
        (b"\x00\x05", "the number 0"),
        (b"\x0b\x0c", "unknown wire type 3"),
        (b"\x0c", "unknown wire type 4"),
        (b"\x0e", "unknown wire type 6"),
        (b"\x0f", "unknown wire type 7"),
        (b"\x0a\x03ab", "longer than the message"),
        (b"\x09" + bytes(7), "longer than the message"),
        (b"\x0d" + bytes(3), "longer than the message"),
        (b"\x08", "ends within a number"),
        (b"\x88", "ends within a number"),
        (b"\x08\x80", "ends within a number"),
    ],
)
def test_fields_invalid_message_raises_value_error(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(data)


def test_fields_end_of_message_is_respected() -> None:
    with pytest.raises(ValueError, match="longer than the message"):
        list(protobuf.fields(b"\x0a\x03abcd", 0, 4))


def flat(*entries: int, tail: bytes = b"") -> bytes:
    """Return a flatbuffer whose root has these field offsets, followed by `tail`."""
    fields_size = 4 + 2 * len(entries)
    table = 4 + fields_size
    return struct.pack(f"<IHH{len(entries)}Hi", table, fields_size, 4, *entries, table - 4) + tail


def test_flatbuffer_valid_table_is_read() -> None:
    vector = struct.pack("<II", 4, 2) + struct.pack("<II", 0, 0)
    root = Flatbuffer(flat(4, 0, 4, tail=vector)).root()
    assert (root.uint32(0), root.uint64(0), root.uint32(1), root.uint32(7)) == (4, (2 << 32) + 4, 0, 0)
    assert (root.length(0), root.length(1)) == (2, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "out of the file"),
        (b"\xff\xff\xff\xff", "out of the file"),
        (struct.pack("<Ii", 4, 1000), "out of the file"),
        (struct.pack("<Ii", 4, -1000), "out of the file"),
        (struct.pack("<IHHi", 8, 5, 4, 4), "odd size"),
    ],
)
def test_flatbuffer_root_outside_file_raises_value_error(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Flatbuffer(data).root()


def test_flatbuffer_fields_outside_file_raise_value_error() -> None:
    root = Flatbuffer(flat(9000, 4, tail=struct.pack("<I", 1 << 31))).root()
    for read_field in (root.uint32, root.uint64, root.length, lambda index: list(root.tables(index))):
        with pytest.raises(ValueError, match="out of the file"):
            read_field(0)
    for read_field in (root.length, lambda index: list(root.tables(index))):
        with pytest.raises(ValueError, match="out of the file"):
            read_field(1)


def test_flatbuffer_vectors_are_read() -> None:
    integers = struct.pack("<I2i", 2, -1, 7)
    text = struct.pack("<I", 2) + "é".encode()
    offsets = struct.pack("<II", 8, 16) + integers + text  # of two vectors, from where each offset is
    root = Flatbuffer(flat(4, 8, 0, tail=offsets)).root()
    assert root.int32s(0) == (-1, 7)
    assert root.text(1) == "é"
    assert (root.int64s(2), root.float32s(2), root.text(2), root.table(2), root.uint8(2)) == ((), (), "", None, 0)
    assert Flatbuffer(flat(4, tail=struct.pack("<Iqq", 4, 0, 0)[:4] + struct.pack("<Iq", 1, -5))).root().int64s(0) == (
        -5,
    )
    assert Flatbuffer(flat(4, tail=struct.pack("<IIf", 4, 1, 0.5))).root().float32s(0) == (0.5,)


@pytest.mark.parametrize("count", [2, 1 << 31, (1 << 32) - 1])
def test_flatbuffer_vector_outside_file_raises_value_error(count: int) -> None:
    root = Flatbuffer(flat(4, tail=struct.pack("<III", 4, count, 0))).root()
    for read_field in (root.int32s, root.int64s, root.float32s):
        with pytest.raises(ValueError, match=r"out of the file|longer than the file"):
            read_field(0)


def test_flatbuffer_text_of_other_bytes_raises_value_error() -> None:
    root = Flatbuffer(flat(4, tail=struct.pack("<IIB", 4, 1, 255))).root()
    with pytest.raises(ValueError, match="utf-8"):
        root.text(0)


def test_flatbuffer_endless_tables_raise_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eetool_runtime.flatbuffer._MAX_TABLES", 100)
    for count, refused in ((99, False), (100, True)):
        behind = 4 * count  # from the first offset to the table that all of them lead to
        offsets = b"".join(struct.pack("<I", behind - 4 * i + 4) for i in range(count))
        shared = struct.pack("<HHi", 4, 4, 4)
        root = Flatbuffer(flat(4, tail=struct.pack("<II", 4, count) + offsets + shared)).root()
        if refused:
            with pytest.raises(ValueError, match="too many tables"):
                list(root.tables(0))
        else:
            assert len(list(root.tables(0))) == count
