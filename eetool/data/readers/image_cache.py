"""Decoded images of folders on disk, as one memory-mapped file for each folder and form.

A later command maps the file, so that images are decoded once, and more of them can be used than fit into memory. The
files are in the folder `images` of the cache (`EETOOL_CACHE`); all of it may be deleted at any time.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from eetool.data.image_form import ImageForm
from eetool.data.readers.download import cache_folder
from eetool.errors import MissingError, OutputError
from eetool.records import write_atomic, write_directory
from eetool.workspace import clear_folder

_PIXELS, _NOTES, _ODD = "pixels.npy", "notes.json", "odd.json"
_VERSION = 1  # of the reader: another one may give other pixels
_LARGE_BYTES = 2 << 20  # of all files; fewer are decoded in a moment
_COPIED_BYTES = 1 << 24
_HASH_DIGITS = 16

Write = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class CachedImages:
    """Images uint8 (N, C, H, W) in a file, and the notes of their decoding."""

    pixels: np.memmap
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ImageCache:
    """Place in the cache of the images of one folder in one form."""

    entry: Path
    count: int
    form: ImageForm | None

    def read(self) -> CachedImages | None:
        """Return the images, or None where they are not there, or damaged."""
        notes = _read_lines(self.entry / _NOTES)
        try:
            pixels = np.load(self.entry / _PIXELS, mmap_mode="c")  # copy on write: a tensor of it can be made
        except (OSError, ValueError, EOFError):  # an empty file is what a power failure may leave
            return None
        if notes is None or not isinstance(pixels, np.memmap) or not self._fits(pixels):
            return None
        return CachedImages(pixels, notes)

    def _fits(self, pixels: np.memmap) -> bool:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != self.count:
            return False
        form = self.form
        if form is None:
            return True
        return pixels.shape[2:] == (form.height, form.width) and form.channels in (None, pixels.shape[1])

    def write(self, shape: tuple[int, int, int], decode: Callable[[Write], tuple[bool, tuple[str, ...]]]) -> None:
        """Store the images of `decode`, all of them or none, and remove those of an earlier state of the folder.

        Args:
            shape: (C, H, W) of one image.
            decode: gives the images, in order, to its argument, and returns whether one channel holds everything,
                and its notes.

        Raises:
            OutputError: the cache cannot be written.
        """
        shutil.rmtree(self.entry, ignore_errors=True)  # a damaged one
        try:
            self.entry.parent.mkdir(parents=True, exist_ok=True)
            with write_directory(self.entry) as folder:
                with _array_file(folder / _PIXELS, (self.count, *shape)) as file:
                    one_channel, notes = decode(lambda pixels: file.write(pixels.tobytes()))
                if one_channel and shape[0] > 1:
                    _keep_one_channel(folder / _PIXELS)
                (folder / _NOTES).write_text(json.dumps(notes), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.entry}: could not be written: {error.strerror or error}") from None
        except OutputError:
            if not self.entry.is_dir():  # otherwise another run has finished first
                raise
        self._remove_others()

    def _remove_others(self) -> None:
        """Remove earlier states of this folder, and what killed processes left of any folder."""
        place, folder = self.entry.name.partition("-")[0], self.entry.parent
        for older in folder.glob(f"{place}-*"):
            if older != self.entry:
                shutil.rmtree(older, ignore_errors=True)
        clear_folder(folder)


def image_cache(folder: Path, paths: Sequence[Path], form: ImageForm | None) -> ImageCache | None:
    """Return the place of the images `paths` of `folder` in the cache; None for small folders, or without a cache."""
    try:
        states, cache = [path.stat() for path in paths], cache_folder()
    except (OSError, MissingError):  # such as a link to nowhere, which its reader refuses
        return None
    if sum(state.st_size for state in states) < _LARGE_BYTES:
        return None
    where = folder.resolve()
    wanted = None if form is None else (form.height, form.width, form.fit, form.channels)
    files = [
        (path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns)
        for path, state in zip(paths, states, strict=True)
    ]
    place, content = _digest(str(where), wanted), _digest(_VERSION, PIL.__version__, files)
    return ImageCache(cache / "images" / f"{place}-{content}", len(paths), form)


def remember_lines(pixels: np.ndarray, lines: Callable[[], Iterator[str]]) -> tuple[str, ...]:
    """Return the `lines` about the images `pixels`; those of images in the cache are computed once."""
    if not isinstance(pixels, np.memmap) or pixels.filename is None:
        return tuple(lines())
    file = Path(pixels.filename).with_name(_ODD)
    if (stored := _read_lines(file)) is not None:
        return stored
    known = tuple(lines())
    with suppress(OutputError):
        write_atomic(file, json.dumps(known).encode(), force=True)
    return known


def _read_lines(path: Path) -> tuple[str, ...] | None:
    """Return the lines in a JSON file, or None where it is missing or damaged."""
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tuple(map(str, lines)) if isinstance(lines, list) else None


def _digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]


@contextmanager
def _array_file(path: Path, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    """Open a new `.npy` file of uint8 for writing, after its header. Written in order, it never exceeds the disk."""
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def _keep_one_channel(path: Path) -> None:
    """Rewrite a file of grey images with the first channel alone."""
    pixels, new = np.load(path, mmap_mode="r"), path.with_name("grey.npy")
    count, _, *size = pixels.shape
    step = max(1, _COPIED_BYTES // pixels[0].nbytes)
    with _array_file(new, (count, 1, *size)) as file:
        for start in range(0, count, step):
            file.write(pixels[start : start + step, :1].tobytes())
    del pixels
    new.replace(path)
