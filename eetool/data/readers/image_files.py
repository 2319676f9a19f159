"""Image files, read by Pillow in a closed list of formats and up to a limited size.

`folder:` and `run` read images with `read_image`, so that a file has the same pixels in both.
"""

import logging
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError, features

from eetool.data.file_notes import FileNotes
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.pixel_conversion import Pixels, StoredImage, convert_pixels
from eetool.errors import ArtefactError
from eetool.records import open_regular

_WITH_AVIF = features.check("avif")  # from Pillow 11.3 on, where the library is there
_AVIF_SUFFIXES = (".avif",) if _WITH_AVIF else ()
SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    *(".gif", ".webp", ".tif", ".tiff", *_AVIF_SUFFIXES),
}
# Pillow starts a program to read some others, such as EPS. The suffix of a file does not fix its format.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP", "TIFF", *(("AVIF",) if _WITH_AVIF else ()))
_HINT = "Convert it to PNG or JPEG, or leave it out."
_MANY = "holds several frames, of which the first is read"
_FLAT = "warning: is of one colour only"
# Pillow logs damaged files, in addition to our own error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Opened(NamedTuple):
    image: StoredImage
    has_frames: bool


def read_image(path: Path, notes: FileNotes) -> Pixels:
    """Return the first image in the file at `path` as 8-bit pixels, upright, grey or RGB.

    Args:
        path: file.
        notes: receives what was left out or looks wrong.

    Raises:
        ArtefactError: the file is missing, no regular file, no image of these formats, cut off or too large, or its
            values have more than one meaning as pixels.
    """
    opened = _open(path)
    if opened.has_frames:
        notes.add(_MANY, path)
    pixels = convert_pixels(opened.image, path, notes)
    if _is_flat(pixels.image):
        notes.add(_FLAT, path)
    return pixels


def _open(path: Path) -> _Opened:
    try:
        with warnings.catch_warnings(), open_regular(path) as file:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # over Image.MAX_IMAGE_PIXELS
            with Image.open(file, formats=FORMATS) as image:
                layout = str(image.tile[0].args) if image.tile else ""  # Pillow forgets it when it has loaded
                image.load()
                # The further pictures of an MPO, a JPEG of telephones, are other sizes or views of the first.
                has_frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
                tags = dict(getattr(image, "tag_v2", {}))
                upright = ImageOps.exif_transpose(image)
                return _Opened(StoredImage(upright, image.format or "", layout, tags), has_frames)
    except UnidentifiedImageError:
        raise ArtefactError(f"{path}: cannot be read as an image: it is none of {', '.join(FORMATS)}", _HINT) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS
        raise ArtefactError(f"{path}: an image of more than {most} pixels", "Make it smaller.") from None
    except Exception as error:  # Pillow raises many unrelated types for a damaged file
        what = "cannot be read" if getattr(error, "strerror", None) else "cannot be read as an image"
        raise ArtefactError(f"{path}: {what}: {error_reason(error)}", "Copy it again, or leave it out.") from None


def _is_flat(image: Image.Image) -> bool:
    extrema = image.getextrema()
    pairs = (extrema,) if image.mode == "L" else extrema
    return all(low == high for low, high in pairs)  # type: ignore[misc]
