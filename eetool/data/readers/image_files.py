"""Image files of data sources: read as the runtime reads them, with notes and the errors of this package."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from eetool.data.file_notes import FileNotes
from eetool.errors import ArtefactError
from eetool.records import open_regular
from eetool_runtime import image_files, pixel_conversion
from eetool_runtime.argument_checks import short_reason
from eetool_runtime.errors import InputError
from eetool_runtime.pixel_conversion import Pixels

SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    *(".gif", ".webp", ".tif", ".tiff", *((".avif",) if "AVIF" in image_files.FORMATS else ())),
}


def read_image(path: Path, notes: FileNotes) -> Pixels:
    """Return the first image in the file at `path` as 8-bit pixels, upright, grey or RGB.

    Args:
        path: file.
        notes: receives what was left out or looks wrong.

    Raises:
        ArtefactError: the file is missing, no regular file, no image of these formats, cut off or too large, or its
            values have more than one meaning as pixels.
    """
    with quiet_pillow():
        pixels = decode_file(path)
    for note in pixels.notes:
        notes.add(note, path)
    return pixels


def decode_file(path: Path) -> Pixels:
    """Return what `read_image` does, with its notes; for threads, which cannot set the filter of warnings."""
    with _artefact_errors(path), open_regular(path) as file:
        return image_files.decode_image(file, str(path))


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an upright image, without reading its pixels; raises ArtefactError."""
    with quiet_pillow(), _artefact_errors(path), open_regular(path) as file:
        return image_files.upright_size(file, str(path))


def check_range(peaks: Sequence[int | None], where: Path) -> None:
    """Raise ArtefactError where files of more than 8 bits are nearly black, see `pixel_conversion.check_range`."""
    with _artefact_errors(where):
        pixel_conversion.check_range(peaks, str(where))


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Suppress the warnings of Pillow about damaged files, in addition to our own errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # over Image.MAX_IMAGE_PIXELS
        yield


@contextmanager
def _artefact_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise ArtefactError(error.message, error.hint) from None
    except OSError as error:
        raise ArtefactError(
            f"{path}: cannot be read: {short_reason(error)}", "Copy it again, or leave it out."
        ) from None
