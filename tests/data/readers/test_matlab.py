"""MATLAB files: the same arrays as scipy reads, and ValueError for damaged files."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from eetool.data.readers import matlab
from eetool.data.readers.matlab import read_mat

ARRAYS: dict[str, Any] = {
    "X": np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5),
    "y": np.array([[1.0], [10.0], [2.5]]),
    "of_other_kinds": {"cell": "text"},
}


def written(**options: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, options.pop("arrays", ARRAYS), **options)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_read_mat_numeric_arrays_equal_those_of_scipy(compressed: bool, dtype: str) -> None:
    data = written(arrays={**ARRAYS, "y": np.arange(7).astype(dtype)}, do_compression=compressed)
    found, expected = read_mat(data, ("X", "y")), loadmat(io.BytesIO(data))
    assert set(found) == {"X", "y"}
    for name, array in found.items():
        assert np.array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype


def test_read_mat_big_endian_file_is_read() -> None:
    def element(kind: int, content: bytes) -> bytes:
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    parts = [(6, struct.pack(">II", 6, 0)), (5, struct.pack(">ii", 1, 2)), (1, b"y"), (4, struct.pack(">HH", 1, 500))]
    data = bytes(124) + b"\x01\x00MI" + element(14, b"".join(element(*part) for part in parts))
    assert read_mat(data, ("y",))["y"].tolist() == [[1, 500]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "another header"),
        (b"MATLAB 7.3 MAT-file" * 20, "another header"),
        (written()[:-8], "cut off"),
        (written(arrays={"y": np.array([1j])}), "y holds no real numbers"),
        (written(arrays={"y": "text"}), "y holds no real numbers"),
        (written(arrays={"y": {"a": 1}}), "y holds no real numbers"),
        (written(do_compression=True)[:150] + bytes(500), "decompressing"),
    ],
    ids=["empty", "version 7.3", "cut", "complex", "text", "structure", "damaged"],
)
def test_read_mat_other_content_raises_value_error(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_mat(data, ("X", "y"))


def test_read_mat_zip_bomb_raises_value_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "_MAX_BYTES", 1000)
    bomb = zlib.compress(bytes(1001))
    with pytest.raises(ValueError, match="unpacks to more than 1000 bytes"):
        read_mat(written(arrays={})[:128] + struct.pack("<II", 15, len(bomb)) + bomb, ("X",))


def test_read_mat_damaged_bytes_raise_value_error_only() -> None:
    pick = random.Random(0)
    refused = 0
    for sound in (written(), written(do_compression=True)):
        for _ in range(1_000):
            data = bytearray(sound)
            for _ in range(pick.randint(1, 4)):
                data[pick.randrange(len(data))] = pick.choice((0, 1, 14, 15, 255, pick.randrange(256)))
            try:
                read_mat(bytes(data), ("X", "y"))
            except ValueError:
                refused += 1
    assert refused > 100
