"""NumPy arrays from untrusted files: headers are checked before memory is allocated."""

import math
import os
import zipfile
from collections.abc import Container
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # compression methods of numpy.savez
_SUFFIX = ".npy"
_MAX_MEMBERS = 1_000
# An archive may unpack to the first limit, or to its own size times the second. A zip bomb has a ratio of 1,000.
_FREE_BYTES = 1 << 30
_MAX_RATIO = 100


def read_npy(file: BinaryIO) -> np.ndarray:
    """Return the array in an open `.npy` file; raises ValueError where it holds no complete plain array."""
    return _array(file, os.fstat(file.fileno()).st_size)


def read_npz_members(file: BinaryIO, wanted: Container[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the names of all arrays in an open `.npz` file, and the `wanted` arrays.

    Raises:
        ValueError: an array is damaged, or the archive unpacks to too much.
        zipfile.BadZipFile: it is no archive; zipfile raises other types for damaged ones.
    """
    with zipfile.ZipFile(file) as archive:
        if len(archive.infolist()) > _MAX_MEMBERS:
            raise ValueError(f"it holds {len(archive.infolist())} members; at most {_MAX_MEMBERS} are allowed")
        members = {m.filename.removesuffix(_SUFFIX): m for m in archive.infolist() if m.filename.endswith(_SUFFIX)}
        chosen = {name: member for name, member in members.items() if name in wanted}
        unpacked = sum(member.file_size for member in chosen.values())
        most = max(_FREE_BYTES, _MAX_RATIO * os.fstat(file.fileno()).st_size)
        if unpacked > most:
            raise ValueError(f"it unpacks to {unpacked} bytes; at most {most} are allowed for its size")
        return list(members), {name: _member(archive, member) for name, member in chosen.items()}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in _METHODS:
        raise ValueError(f"{member.filename!r} is compressed in a way that numpy does not use")
    with archive.open(member) as file:
        try:
            return _array(file, member.file_size)
        except ValueError as error:
            raise ValueError(f"{member.filename!r}: {error}") from None


def _array(file: IO[bytes], size_bytes: int) -> np.ndarray:
    """Return the array in `file`, a file of `size_bytes`."""
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"its version {version} is not one of numpy's for plain arrays")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"it holds {dtype}, and no plain numbers or texts")
    declared, available = math.prod(shape) * dtype.itemsize, size_bytes - file.tell()
    if min(shape, default=0) < 0 or declared > available:
        raise ValueError(f"its header declares the shape {shape}, of {declared} bytes, and the file has {available}")
    file.seek(0)
    array: np.ndarray = npy.read_array(file, allow_pickle=False)
    return array
