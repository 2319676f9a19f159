"""Decoding of many image files into one array, in the form that a network takes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import cpu_count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eetool.data.file_notes import FileNotes
from eetool.data.image_form import ImageForm
from eetool.data.readers.image_files import check_range, decode_file, image_size, quiet_pillow
from eetool.data.refused_files import refused_files, value_or_error
from eetool.errors import ArtefactError
from eetool.progress import Progress
from eetool_runtime.image_files import GREY, MODES, fit_image

_CHUNK = 16  # files per task
_SHOWN = 3  # sizes in a message
_PARALLEL_FROM = 32  # files


class _Decoded(NamedTuple):
    """One image: pixels uint8 (C, H, W), and what else is known of it; `size` is that of the file."""

    pixels: np.ndarray
    size: tuple[int, int]
    peak: int | None
    is_grey: bool
    notes: tuple[str, ...]


def common_size(paths: Sequence[Path], folder: Path) -> tuple[int, int]:
    """Return height and width of all images.

    Raises:
        ArtefactError: a file cannot be read; or they differ: the message gives the sizes, the hint what to write.
    """
    with quiet_pillow():
        read = [value_or_error(partial(image_size, path)) for path in paths]
    if errors := [size for size in read if isinstance(size, ArtefactError)]:
        raise refused_files(errors, len(paths))
    sizes = Counter(size for size in read if not isinstance(size, ArtefactError))
    if len(sizes) == 1:
        ((width, height),) = sizes
        return height, width
    shown = ", ".join(f"{width}×{height} ({count})" for (width, height), count in sizes.most_common(_SHOWN))
    more = ", …" if len(sizes) > _SHOWN else ""
    raise ArtefactError(
        f"{folder}: the images have {len(sizes)} sizes (width×height): {shown}{more}",
        _size_hint(folder),
    )


def decode_images(
    paths: Sequence[Path],
    form: ImageForm,
    resizes: bool,
    notes: FileNotes,
    folder: Path,
    progress: Progress,
    write: Callable[[np.ndarray], object],
) -> bool:
    """Give every image to `write` as pixels uint8 (C, H, W), in the order of the files; return whether all are grey.

    Threads decode them, because Pillow frees the interpreter meanwhile. A few images per thread are in memory.

    Args:
        paths: files.
        form: size, fit and channels; without channels, images are RGB.
        resizes: images of another size are resized; otherwise they are refused.
        notes: receives what was left out or looks wrong.
        folder: their folder, for messages.
        progress: shows the files.
        write: receives the pixels.

    Raises:
        ArtefactError: files are refused, see `image_files.read_image`; the message names them all, or the first ten.
    """
    peaks: list[int | None] = []
    errors: list[ArtefactError] = []
    all_grey = True
    mode = MODES[form.channels or 3]
    with quiet_pillow(), progress("decoding images", len(paths)) as advance:
        for path, image in zip(paths, _decoded(paths, form, mode), strict=True):
            advance(1)
            if isinstance(image, ArtefactError):
                errors.append(image)
                continue
            if image.size != (form.width, form.height) and not resizes:
                size = "×".join(map(str, image.size))
                raise ArtefactError(f"{path}: {size} pixels, and others {form.width}×{form.height}", _size_hint(folder))
            if not errors:  # after one the rest is only read to find the others
                write(image.pixels)
            peaks.append(image.peak)
            all_grey &= image.is_grey
            for note in image.notes:
                notes.add(note, path)
    if errors:
        raise refused_files(errors, len(paths))
    check_range(peaks, folder)
    return all_grey


def _decoded(paths: Sequence[Path], form: ImageForm, mode: str) -> Iterator[_Decoded | ArtefactError]:
    """Yield the images in the order of their files, and for a file that cannot be read the error."""

    def decode(path: Path) -> _Decoded | ArtefactError:
        return value_or_error(partial(_decode, path, form, mode))

    def chunk(start: int) -> list[_Decoded | ArtefactError]:
        return [decode(path) for path in paths[start : start + _CHUNK]]

    workers = min(cpu_count() or 1, 16)
    if len(paths) < _PARALLEL_FROM or workers == 1:
        for path in paths:
            yield decode(path)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        # A few chunks ahead of the reader, so that decoded images do not pile up.
        starts = list(range(0, len(paths), _CHUNK))
        ahead = [pool.submit(chunk, start) for start in starts[: 2 * workers]]
        for next_start in (*starts[2 * workers :], *[None] * len(ahead)):
            done = ahead.pop(0)
            if next_start is not None:
                ahead.append(pool.submit(chunk, next_start))
            yield from done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _decode(path: Path, form: ImageForm, mode: str) -> _Decoded:
    image, peak, notes = decode_file(path)
    fitted = fit_image(image, form.height, form.width, form.fit).convert(mode)
    pixels = np.asarray(fitted).reshape(form.height, form.width, -1).transpose(2, 0, 1)  # -> (C, H, W)
    return _Decoded(pixels, image.size, peak, image.mode == GREY, notes)


def _size_hint(folder: Path) -> str:
    return f"Give the size that the network takes: folder:{folder}@96 for 96×96, @96x128 for 96 high and 128 wide."
