"""Image files, read by Pillow in a closed list of formats and up to a limited size.

Training and devices read files with `decode_image` and bring them to the model's size with `fit_image`, so that a file
has the same pixels in both. Pillow comes with the extra `eetool-runtime[image]`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, NamedTuple, Union

from PIL import Image, ImageOps, UnidentifiedImageError, features

from .argument_checks import printable, short_reason
from .errors import InputError
from .pixel_conversion import Pixels, StoredImage, check_range, convert_pixels
from .resize import PAD_VALUE, fit_spans

_WITH_AVIF = "avif" in features.modules and features.check("avif")  # from Pillow 11.3 on, where the library is there
# Pillow starts a program to read some others, such as EPS. The suffix of a file does not fix its format.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP", "TIFF", *(("AVIF",) if _WITH_AVIF else ()))
GREY, RGB = "L", "RGB"
MODES = {1: GREY, 3: RGB}  # by the number of channels
_HINT = "Convert it to PNG or JPEG, or leave it out."
_MANY = "holds several frames, of which the first is read"
_FLAT = "warning: is of one colour only"
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: the values that exchange rows and columns
# Pillow logs damaged files, in addition to our own error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Opened(NamedTuple):
    image: StoredImage
    has_frames: bool


def decode_image(file: BinaryIO, name: str) -> Pixels:
    """Return the first image of an open file as 8-bit pixels, upright, grey or RGB.

    Args:
        file: the file.
        name: its name, for messages.

    Raises:
        InputError: it is no image of these formats, cut off or too large, or its values have more than one meaning as
            pixels.
    """
    opened = _open(file, name)
    pixels = convert_pixels(opened.image, name)
    notes = (_MANY,) * opened.has_frames + pixels.notes + (_FLAT,) * _is_flat(pixels.image)
    return pixels._replace(notes=notes)


def upright_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Return width and height of an image from the beginning of its file, without its pixels.

    Raises:
        InputError: it is no image of these formats, or too large.
    """
    with _errors(name), Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
        return (height, width) if turned else (width, height)


def fit_image(image: Image.Image, height: int, width: int, fit: str) -> Image.Image:
    """Return an image of mode L or RGB in the size `height` × `width`, by the rule of `eetool_runtime.resize`."""
    if image.size == (width, height):
        return image
    rows, columns = fit_spans(image.height, image.width, (height, width), fit)
    box = (columns.start, rows.start, columns.stop, rows.stop)
    resized = image.resize((columns.size, rows.size), Image.Resampling.BILINEAR, box)
    if resized.size == (width, height):
        return resized
    padded = Image.new(image.mode, (width, height), (PAD_VALUE,) * len(image.getbands()))
    padded.paste(resized, (columns.offset, rows.offset))
    return padded


def read_photo(source: Union[str, PathLike[str], bytes, bytearray]) -> Image.Image:
    """Return the image in a file, or in the bytes of one, upright, grey or RGB.

    Raises:
        InputError: see `decode_image`; or the file cannot be read.
    """
    if isinstance(source, (str, PathLike)):
        name = printable(str(source))
        with _errors(name):
            if not S_ISREG(Path(source).stat().st_mode):  # opening a pipe may never end
                raise InputError(f"{name}: is no file", "Give the path of an image.")
            with Path(source).open("rb") as file:
                pixels = decode_image(file, name)
    else:
        name = f"{len(source)} bytes"
        pixels = decode_image(BytesIO(source), name)
    check_range([pixels.peak], name)
    return pixels.image


def _open(file: BinaryIO, name: str) -> _Opened:
    with _errors(name), Image.open(file, formats=FORMATS) as image:
        most = Image.MAX_IMAGE_PIXELS
        if most is not None and image.width * image.height > most:
            raise Image.DecompressionBombError
        layout = str(image.tile[0].args) if image.tile else ""  # Pillow forgets it when it has loaded
        image.load()
        # The further pictures of an MPO, a JPEG of telephones, are other sizes or views of the first.
        has_frames = image.format != "MPO" and bool(getattr(image, "is_animated", False))
        tags = dict(getattr(image, "tag_v2", {}))
        upright = ImageOps.exif_transpose(image)
        return _Opened(StoredImage(upright, image.format or "", layout, tags), has_frames)


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn the errors of Pillow into InputError; it raises many unrelated types for a damaged file."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name}: cannot be read as an image: it is none of {', '.join(FORMATS)}", _HINT) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{name}: an image of more than {Image.MAX_IMAGE_PIXELS} pixels", "Make it smaller.") from None
    except Exception as error:
        what = "cannot be read" if getattr(error, "strerror", None) else "cannot be read as an image"
        raise InputError(f"{name}: {what}: {short_reason(error)}", "Copy it again, or leave it out.") from None


def _is_flat(image: Image.Image) -> bool:
    extrema = image.getextrema()
    pairs = (extrema,) if image.mode == GREY else extrema
    return all(low == high for low, high in pairs)  # type: ignore[misc]
