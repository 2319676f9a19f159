"""Image files, read by Pillow in a closed list of formats and up to a limited size."""

import logging
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from eetool.data.readers.error_reason import error_reason
from eetool.errors import ArtefactError
from eetool.records import open_regular

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".gif", ".webp", ".tif", ".tiff"}
# Pillow starts a program to read some others, such as EPS. The suffix of a file does not fix its format.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP", "TIFF")
# Pillow logs damaged files, in addition to our own error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def open_image(path: Path) -> Image.Image:
    """Return the first image in the file at `path`, decoded.

    Raises:
        ArtefactError: the file is missing, no regular file, no image of these formats, cut off, or too large.
    """
    try:
        with warnings.catch_warnings(), open_regular(path) as file:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # over Image.MAX_IMAGE_PIXELS
            with Image.open(file, formats=FORMATS) as image:
                image.load()
                return image.copy()
    except UnidentifiedImageError:
        raise ArtefactError(f"{path}: cannot be read as an image: it is none of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = Image.MAX_IMAGE_PIXELS
        raise ArtefactError(f"{path}: an image of more than {most} pixels", "Make it smaller.") from None
    except Exception as error:  # Pillow raises many unrelated types for a damaged file
        what = "cannot be read" if getattr(error, "strerror", None) else "cannot be read as an image"
        raise ArtefactError(f"{path}: {what}: {error_reason(error)}", "Copy it again, or leave it out.") from None


def convert_mode(image: Image.Image, mode: str, path: Path) -> Image.Image:
    """Convert `image` of the file `path` to another mode; raises ArtefactError where Pillow cannot convert it."""
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ArtefactError(f"{path}: {error_reason(error)}", "Save it as RGB or grey.") from None
