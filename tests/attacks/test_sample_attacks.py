"""Hostile samples: archives with correct hashes that hold other members than plain arrays."""

import hashlib
import os
import struct
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import BundleError
from tests.helpers.tiny_bundle import write_tiny_bundle

SAMPLES = "samples/inputs.npz"


class Trap:
    """An object whose unpickling creates a folder."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.place,)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(data: bytes, name: str = "input.npy") -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def claiming(size: int) -> bytes:
    """Return an archive whose directory declares `size` unpacked bytes for its only member."""
    data = bytearray(zipped(npy(np.zeros(4))))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", size)
    return bytes(data)


def header(text: str) -> bytes:
    """Return an array file with this header and no data."""
    padded = text.ljust(118) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


ARCHIVES = {
    "nothing": b"",
    "text": b"hello",
    "one array, no archive": npy(np.zeros(4)),
    "cut off": npz(input=np.zeros(100))[:-30],
    "damaged": npz(input=np.zeros(100)).replace(b"NUMPY", b"NUMPX"),
    "text for an array": zipped(b"hello"),
    "larger than memory": claiming(0xFFFFFFF0),
    "trillion numbers": zipped(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }")),
    "negative shape": zipped(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }")),
    "code for a header": zipped(header("__import__('os').mkdir('owned')")),
    "objects": zipped(header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")),
    "header without end": zipped(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30) + b"{" * 100_000),
}


def write(folder: Path, data: bytes) -> Path:
    def edit(document: dict[str, Any]) -> None:
        document["files"][SAMPLES] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}

    path = write_tiny_bundle(folder, edit=edit)
    (path / SAMPLES).write_bytes(data)
    return path


@pytest.mark.parametrize("data", list(ARCHIVES.values()), ids=list(ARCHIVES))
def test_arrays_hostile_archive_raises_bundle_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BundleError, match=rf"^{SAMPLES}: not a readable \.npz file: ") as caught:
        ee.open_bundle(write(tmp_path, data)).arrays(SAMPLES)
    assert caught.value.exit_code == 3


def test_arrays_pickled_objects_are_not_built(tmp_path: Path) -> None:
    trap = npz(input=np.array([Trap(tmp_path / "owned")], dtype=object))
    with pytest.raises(BundleError, match="Object arrays cannot be loaded when allow_pickle=False"):
        ee.open_bundle(write(tmp_path, trap)).arrays(SAMPLES)
    assert not (tmp_path / "owned").exists()


def test_arrays_member_names_are_not_paths(tmp_path: Path) -> None:
    arrays = ee.open_bundle(write(tmp_path, zipped(npy(np.zeros(4)), "../../owned.npy"))).arrays(SAMPLES)
    assert list(arrays) == ["../../owned"]
    assert not (tmp_path.parent / "owned.npy").exists()
