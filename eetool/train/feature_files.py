"""Files of features in the user's cache: written once, read in batches, bounded in size.

    CACHE/features/CONTEXT/PART.f16

A context stands for one network and one version of the examples. A part is one tensor of every example in it, as rows
of float16 or float32. Contexts that were not used for the longest time are removed when the limit is reached.
"""

import mmap
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eetool.data.readers.download import cache_folder
from eetool.errors import MissingError, OutputError
from eetool.records import write_file
from eetool.workspace import clear_folder

LIMIT = "EETOOL_FEATURES_GB"  # environment variable with another limit of the folder
_LIMIT_GB = 8.0
_RESIDENT_BYTES = 128 << 20  # of one file that a process has read; more is given back to the system
HALF, SINGLE = np.dtype(np.float16), np.dtype(np.float32)
_SUFFIXES: dict[np.dtype, str] = {HALF: ".f16", SINGLE: ".f32"}


@dataclass(frozen=True)
class PartShape:
    """Name of a part and the shape of its tensor for one example."""

    name: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of values of one example."""
        return int(np.prod(self.shape))


class FeatureRows:
    """Rows of one part, read from its file. Memory stays bounded: pages that were read are given back."""

    def __init__(self, path: Path, width: int, dtype: np.dtype) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows = np.frombuffer(self._map, dtype).reshape(-1, width)
        self._read_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        """Return a copy of the rows `chosen` (n,), float32 (n, width)."""
        rows: np.ndarray = self._rows[chosen].astype(np.float32)
        self._read_bytes += len(chosen) * max(self._rows[0].nbytes, mmap.PAGESIZE)
        if self._read_bytes > _RESIDENT_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read_bytes = 0
        return rows


def features_folder() -> Path:
    """Return the folder of all features."""
    return cache_folder() / "features"


def limit_bytes() -> int:
    """Return the limit of the folder: that of `EETOOL_FEATURES_GB`, or 8 GB."""
    try:
        return int(float(os.environ.get(LIMIT, "") or _LIMIT_GB) * 1e9)
    except ValueError:
        return int(_LIMIT_GB * 1e9)


class FeatureContext:
    """Folder of one context with `count` examples. Opening it marks it as used.

    Raises:
        OutputError: the cache cannot be written.
    """

    def __init__(self, key: str, count: int) -> None:
        self.folder, self.count = features_folder() / key, count
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder)
            clear_folder(self.folder)

    def open(self, part: PartShape) -> FeatureRows | None:
        """Return the rows of a part, or None where no whole file of it exists."""
        for dtype in _SUFFIXES:
            path = self._path(part, dtype)
            with suppress(OSError):
                if path.stat().st_size == self.count * part.width * dtype.itemsize > 0:
                    return FeatureRows(path, part.width, dtype)
        return None

    @contextmanager
    def write(self, parts: Sequence[PartShape], dtypes: Mapping[str, np.dtype]) -> Iterator["PartWriter"]:
        """Yield a writer of several parts, whose files appear together when the block succeeds."""
        with _writing(self.folder), ExitStack() as stack:
            files = {p.name: stack.enter_context(write_file(self._path(p, dtypes[p.name]), force=True)) for p in parts}
            opened = {name: stack.enter_context(path.open("wb")) for name, path in files.items()}
            yield PartWriter(opened, dtypes)
            for file in opened.values():
                file.flush()

    def remove(self) -> None:
        """Remove all files of the context."""
        _remove(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, part: PartShape, dtype: np.dtype) -> Path:
        return self.folder / (part.name + _SUFFIXES[dtype])


class PartWriter:
    """Writer of the rows of several parts, in the order of the examples."""

    def __init__(self, files: Mapping[str, BinaryIO], dtypes: Mapping[str, np.dtype]) -> None:
        self._files, self._dtypes = files, dtypes

    def add(self, name: str, rows: np.ndarray) -> None:
        """Append rows (n, …) of a part."""
        self._files[name].write(np.ascontiguousarray(rows, self._dtypes[name]).data)


def is_writable() -> bool:
    """Return whether features can be kept here."""
    with suppress(OSError, MissingError):
        features_folder().mkdir(parents=True, exist_ok=True)
        return os.access(features_folder(), os.W_OK | os.X_OK)
    return False


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into an OutputError that names the cache."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder}: features could not be written: {error.strerror or error}",
            "The environment variable EETOOL_CACHE names another folder for them.",
        ) from None


def make_room(needed_bytes: int, kept: Sequence[str]) -> None:
    """Remove the contexts that were unused for the longest time, until `needed_bytes` more are within the limit.

    Args:
        needed_bytes: size of what is going to be written.
        kept: keys of contexts that stay.
    """
    folder = features_folder()
    contexts = []
    with suppress(OSError):
        contexts = [(at.stat().st_mtime, at) for at in folder.iterdir() if at.is_dir() and at.name not in kept]
    used = {at: _size_bytes(at) for _, at in contexts}
    total = sum(used.values()) + sum(_size_bytes(folder / key) for key in kept)
    for _, at in sorted(contexts):
        if total + needed_bytes <= limit_bytes():
            return
        _remove(at)
        total -= used[at]


def _size_bytes(folder: Path) -> int:
    total = 0
    with suppress(OSError):
        total = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return total


def _remove(folder: Path) -> None:
    """Remove a context under another name, so that no process finds half of it. Open files stay readable."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}")
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
