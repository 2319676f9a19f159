"""Images of every mode for the fuzzer of data, with a copy of their values that a reading is judged by.

A sound image must keep the order of its values: a brighter value never becomes a darker pixel, and values that differ
much never become one colour. Otherwise it has to be refused, or a note has to say so.
"""

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from eetool.data.file_notes import FileNotes
from eetool.data.readers.image_files import check_range, read_image
from eetool_runtime.image_files import FORMATS

_ORIENTATION = 274
_STEP = 1 / 32  # of the range of the mode: values so far apart must not become one


class Picture(NamedTuple):
    """An image file, and the values (H, W) or (H, W, C) that it was made of, from 0 to 1; None where none are known."""

    data: bytes
    values: np.ndarray | None


def picture(pick: random.Random) -> Picture:
    """Return an image in a random mode and format."""
    if pick.random() < 0.15:
        return _other_format(pick)
    make = pick.choice((_grey, _wide, _wide, _whole, _floats, _colours, _colours, _with_alpha, _palette, _cmyk, _bits))
    return make(pick)


def _values(pick: random.Random, *shape: int) -> np.ndarray:
    """Return random values, or a ramp, of a random part of the range."""
    random_values = np.random.default_rng(pick.getrandbits(32))
    values = (
        random_values.random(shape) if pick.random() < 0.5 else np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    )
    low, high = sorted((pick.choice((0, 0, 0.25, 0.5)), pick.choice((1, 1, 0.75, 0.01, 1 / 16))))
    values = low + values * (high - low)
    return np.full(shape, 0.5) if pick.random() < 0.05 else values


def _size(pick: random.Random) -> tuple[int, int]:
    return pick.choice((1, 3, 8)), pick.choice((2, 5, 8))


def _save(pick: random.Random, image: Image.Image, forms: tuple[str, ...], **more: object) -> bytes:
    """Return the image in one of `forms`, at times turned by a tag, with several frames, or compressed."""
    form, file = pick.choice(forms), io.BytesIO()
    options: dict[str, object] = dict(more)
    if form in ("GIF", "TIFF") and pick.random() < 0.2:
        options |= {"save_all": True, "append_images": [image]}
    if form == "TIFF":
        options |= {"compression": pick.choice((None, None, "tiff_lzw", "tiff_adobe_deflate"))}
    if form == "WEBP":
        options |= {"lossless": True, "exact": True}
    if form in ("PNG", "WEBP", "JPEG") and pick.random() < 0.2:
        exif = Image.Exif()
        exif[_ORIENTATION] = pick.choice((1, 1, 0, 9, 77))  # turned ones have tests of their own
        options |= {"exif": exif}
    image.save(file, form, **options)  # type: ignore[arg-type]
    return file.getvalue()


def _grey(pick: random.Random) -> Picture:
    pixels = np.rint(_values(pick, *_size(pick)) * 255).astype(np.uint8)
    return Picture(_save(pick, Image.fromarray(pixels), ("PNG", "TIFF", "PPM", "BMP")), pixels / 255)


def _wide(pick: random.Random) -> Picture:
    values = np.rint(_values(pick, *_size(pick)) * 65535).astype(np.uint16)
    if pick.random() < 0.3:
        big = Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())
        return Picture(_save(pick, big, ("TIFF",)), values / 65535)
    return Picture(_save(pick, Image.fromarray(values), ("PNG", "TIFF", "PPM")), values / 65535)


def _whole(pick: random.Random) -> Picture:
    values = np.rint(_values(pick, *_size(pick)) * pick.choice((255, 65535, 2**31 - 1))).astype(np.int32)
    signed = values - pick.choice((0, 0, 7, 1000))
    return Picture(_save(pick, Image.fromarray(signed.astype(np.int32)), ("TIFF",)), signed)


def _floats(pick: random.Random) -> Picture:
    values = _values(pick, *_size(pick)).astype(np.float32) * np.float32(pick.choice((1, 1, 1, 255, 1e30)))
    if pick.random() < 0.2:
        values.flat[pick.randrange(values.size)] = pick.choice((np.nan, np.inf, -np.inf, -1, 2))
    return Picture(_save(pick, Image.fromarray(values), ("TIFF",)), values)


def _colours(pick: random.Random) -> Picture:
    pixels = np.rint(_values(pick, *_size(pick), 3) * 255).astype(np.uint8)
    return Picture(_save(pick, Image.fromarray(pixels), ("PNG", "TIFF", "PPM", "BMP", "WEBP")), pixels / 255)


def _with_alpha(pick: random.Random) -> Picture:
    colours, size = pick.choice((1, 3)), _size(pick)
    pixels = np.rint(_values(pick, *size, colours) * 255).astype(np.uint8)
    alpha = np.full((*size, 1), 255, np.uint8)
    if pick.random() < 0.4:
        alpha.flat[pick.randrange(alpha.size)] = pick.randint(0, 255)
    image = Image.fromarray(np.concatenate([pixels, alpha], 2), "LA" if colours == 1 else "RGBA")
    forms = ("PNG", "TIFF") if colours == 1 else ("PNG", "TIFF", "WEBP")
    return Picture(_save(pick, image, forms), (pixels[:, :, 0] if colours == 1 else pixels) / 255)


def _palette(pick: random.Random) -> Picture:
    colours = np.rint(_values(pick, 16, 3) * 255).astype(np.uint8)
    indices = np.random.default_rng(pick.getrandbits(32)).integers(0, 15, _size(pick))
    image = Image.fromarray(indices.astype(np.uint8), "L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    more = {"transparency": pick.choice((15, 15, 3))} if pick.random() < 0.4 else {}
    return Picture(_save(pick, image, ("PNG",), **more), colours[indices] / 255)


def _cmyk(pick: random.Random) -> Picture:
    pixels = np.rint(_values(pick, *_size(pick), 3) * 255).astype(np.uint8)
    return Picture(_save(pick, Image.fromarray(pixels).convert("CMYK"), ("TIFF",)), pixels / 255)


def _bits(pick: random.Random) -> Picture:
    pixels = _values(pick, *_size(pick)) > 0.4
    return Picture(_save(pick, Image.fromarray(pixels), ("PNG", "TIFF", "PPM", "BMP", "GIF")), pixels.astype(float))


def _other_format(pick: random.Random) -> Picture:
    mode, file = pick.choice(("L", "RGB", "1")), io.BytesIO()
    image = Image.new(mode, (pick.choice((1, 8, 64)), 8), pick.randint(0, 1))
    image.save(file, pick.choice((*FORMATS, "ICO", "PCX", "EPS" if mode != "1" else "TGA")))
    return Picture(file.getvalue(), None)


def read_one(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the pixels of a file as `run` reads it, and the notes."""
    notes = FileNotes()
    pixels = read_image(path, notes)
    check_range([pixels.peak], path)
    return np.asarray(pixels.image), notes.lines()


def reading_of(values: np.ndarray | None) -> Callable[[Path], object]:
    """Return a reading that fails where the pixels of a sound file contradict the `values` that it was made of."""

    def read(path: Path) -> object:
        pixels, notes = read_one(path)
        if values is not None:
            judge_pixels(values, pixels, notes)
        return pixels

    return read


def judge_pixels(values: np.ndarray, pixels: np.ndarray, notes: tuple[str, ...]) -> None:
    """Raise AssertionError where `pixels` are not `values` in 8 bits, or are of one colour without a note."""
    if pixels.ndim > values.ndim:  # a grey palette becomes RGB
        values = np.repeat(values[:, :, None], 3, 2)
    assert pixels.shape == values.shape, f"{pixels.shape} for {values.shape}"
    order = np.argsort(values, axis=None)
    sorted_pixels = pixels.ravel()[order].astype(int)
    fallen = np.diff(sorted_pixels) < 0
    assert not (fallen & (np.diff(values.ravel()[order]) > 0)).any(), "a brighter value became a darker pixel"
    assert abs(pixels - 255 * values).max() <= 1.0, "a value became another pixel"
    if np.ptp(pixels.reshape(-1, *pixels.shape[2:]), axis=0).max() == 0:
        assert np.ptp(values.reshape(-1, *values.shape[2:]), axis=0).max() < _STEP, "became one colour"
        assert any("one colour" in note for note in notes), "one colour, and nothing was said"
