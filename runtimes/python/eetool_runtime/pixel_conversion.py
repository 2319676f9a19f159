"""Conversion of images of every mode to pixels of 8 bits, grey or RGB, where there is one way to do it.

Values that would have to be guessed are refused: of which range they are, or what lies behind a transparent pixel. No
value is clipped, and a brighter value never becomes a darker pixel (docs/decisions/0034).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
from PIL import Image

from .argument_checks import short_reason
from .errors import InputError

_WHITE, _WHITE_16 = 255, 65535
_DARK = 4096  # of 65535: below it, fewer than 16 levels are left
# Tags of TIFF.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE, _SIGNED = 0, 2, 2
_FEW_BITS = {"1", "L;2", "L;4"}  # layouts whose transparent value Pillow does not scale
_BYTE = 8  # bits
_CMYK = "CMYK was converted to RGB without a colour profile"
_AS_INTERLEAVED = "Save it as 8 bits, or as PNG."
_AS_8_BITS = "Save it as 8 bits, grey or RGB, in the way that the device will do it."


class StoredImage(NamedTuple):
    """An image as its file stores it: decoded, upright, with its format, its layout there, and its tags of TIFF."""

    image: Image.Image
    format: str
    layout: str
    tags: Mapping[int, Any]

    @property
    def has_16_bits(self) -> bool:
        """True where a sample of the file has 16 bits."""
        return ";16" in self.layout


class Pixels(NamedTuple):
    """Pixels of one file.

    Attributes:
        image: image of mode L or RGB.
        peak: the largest value of 65535 where the file has more than 8 bits.
        notes: what was left out or converted.
    """

    image: Image.Image
    peak: Optional[int] = None
    notes: tuple[str, ...] = ()


def convert_pixels(stored: StoredImage, name: str) -> Pixels:
    """Return the image of the file `name` in 8 bits.

    16 bits of full range are divided by 257, or by 256 where Pillow reads RGB; floats from 0 to 1 are multiplied by
    255. Transparency is dropped where nothing is transparent. CMYK is converted without a colour profile.

    Raises:
        InputError: its values have more than one meaning.
    """
    mode = stored.image.mode
    if mode.startswith("I;16") or (mode == "I" and stored.format in ("PPM", "PNG")):
        return _from_16_bits(stored, name)
    if mode == "I":
        low, high = stored.image.getextrema()
        raise InputError(
            f"{name}: whole numbers from {low} to {high}, whose range for black to white is not known", _AS_8_BITS
        )
    if _SIGNED in _as_tuple(stored.tags.get(_SAMPLE_FORMAT)):
        raise InputError(f"{name}: signed numbers, whose range is not known", _AS_8_BITS)
    if stored.tags.get(_PLANES) == _SEPARATE and max(_as_tuple(stored.tags.get(_BITS_PER_SAMPLE, 1))) > _BYTE:
        raise InputError(
            f"{name}: planes of 16 bits, one after the other, which Pillow reads as bytes", _AS_INTERLEAVED
        )
    if mode == "F":
        return _from_floats(stored, name)
    _check_opaque(stored, name)
    try:
        image = stored.image.convert("L" if mode in ("1", "L", "LA") else "RGB")
    except Exception as error:  # such as a missing library for LAB
        raise InputError(f"{name}: {short_reason(error)}", "Save it as RGB or grey.") from None
    notes = (_CMYK,) if mode == "CMYK" else ()
    return Pixels(image, _peak_of_8_bits(image) if stored.has_16_bits else None, notes)


def check_range(peaks: Sequence[Optional[int]], where: str) -> None:
    """Raise InputError where files of more than 8 bits use so few of them that all are nearly black.

    Args:
        peaks: `Pixels.peak` of the images of one set.
        where: file or folder of the set, for the message.
    """
    known = [peak for peak in peaks if peak is not None]
    if known and max(known) < _DARK:
        what = "a file" if len(known) == 1 else f"{len(known)} files"
        raise InputError(
            f"{where}: {what} of 16 bits or floats, whose largest value is {max(known)} of {_WHITE_16} for white: "
            "nearly black",
            "Scale the values to the whole range (those of 12 bits times 16, for example), or save 8 bits.",
        )


def _from_16_bits(stored: StoredImage, name: str) -> Pixels:
    values = np.asarray(stored.image).astype(np.uint32)
    if int(stored.image.info.get("transparency", -1)) in values:
        raise _transparent(name)
    white = _WHITE_16
    if _as_tuple(stored.tags.get(_BITS_PER_SAMPLE)) == (12,):
        white = 4095
    if stored.tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # which Pillow only heeds in 8 bits
        values = white - values
    pixels = ((values * _WHITE + white // 2) // white).astype(np.uint8)
    return Pixels(Image.fromarray(pixels), int(values.max()) * _WHITE_16 // white)


def _from_floats(stored: StoredImage, name: str) -> Pixels:
    values = np.asarray(stored.image)
    if not np.isfinite(values).all():
        raise InputError(
            f"{name}: floats, and {np.count_nonzero(~np.isfinite(values))} are NaN or infinite", _AS_8_BITS
        )
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1 or stored.tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        reason = "whose range for black to white is not known: it would have to be 0 to 1"
        raise InputError(f"{name}: floats from {low:g} to {high:g}, {reason}", _AS_8_BITS)
    pixels = np.rint(values * np.float32(_WHITE)).astype(np.uint8)
    return Pixels(Image.fromarray(pixels), int(high * _WHITE_16))


def _check_opaque(stored: StoredImage, name: str) -> None:
    """Raise InputError where a pixel is transparent."""
    key = stored.image.info.get("transparency")
    if key is None and not stored.image.has_transparency_data:
        return
    if key is not None and stored.image.mode in ("1", "L", "RGB"):
        layout = stored.layout.strip("'\"")
        if layout in _FEW_BITS or stored.has_16_bits:
            raise _transparent(name)
    alpha = stored.image.convert("RGBA").getchannel("A")
    if alpha.getextrema()[0] != _WHITE:
        raise _transparent(name)


def _transparent(name: str) -> InputError:
    return InputError(
        f"{name}: has transparent pixels, and the file does not say what lies behind them",
        "Put it on the background that the device will see, with Pillow's Image.alpha_composite for example.",
    )


def _peak_of_8_bits(image: Image.Image) -> int:
    extrema = image.getextrema()
    pairs: Any = (extrema,) if image.mode == "L" else extrema
    return max(int(high) for _, high in pairs) * (_WHITE_16 // _WHITE)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
