"""Rows of image files. Each is read by itself, as `run` does, and in a folder: both have to agree."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eetool.data.file_notes import FileNotes
from eetool.data.readers.image_files import check_range, read_image
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

GREY = np.array([[0, 100, 255]], np.uint8)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 7]]], np.uint8)
WIDE = GREY.astype(np.uint16) * 257
OPAQUE, HALF = np.full((1, 3), 255, np.uint8), np.array([[255, 128, 255]], np.uint8)
_ORIENTATION = 274
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339

Read = Callable[[Path], tuple[Any, list[str]]]


def stored(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(bits: int, colour_type: int, rows: list[bytes], width: int, **chunks: bytes) -> bytes:
    """Return a PNG of a kind that Pillow does not write."""
    parts = [(b"IHDR", struct.pack(">II5B", width, len(rows), bits, colour_type, 0, 0, 0))]
    parts += [(name.encode(), data) for name, data in chunks.items()]
    parts += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    made = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """Return a little-endian TIFF in which a short `tag` has another value."""
    place = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


def tiff_12_bits(values: list[int]) -> bytes:
    """Return a TIFF of one line of an even number of values of 12 bits."""
    packed = b"".join(
        bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in zip(values[::2], values[1::2], strict=True)
    )
    tags = [
        (256, len(values)),
        (257, 1),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, len(packed)),
    ]
    padded = packed + b"\0" * (len(packed) % 2)
    directory = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + struct.pack("<H", len(tags)) + directory + b"\0" * 4


def tiff_16_bits_in_planes(pixels: np.ndarray) -> bytes:
    """Return a TIFF of one line of RGB, uint16 (1, W, 3), in which one colour follows after the other."""
    width, data = pixels.shape[1], pixels.transpose(2, 0, 1).astype("<u2").tobytes()
    begins = [8 + 2 * width * plane for plane in range(3)]
    lists = [[16] * 3, begins, [2 * width] * 3]  # bits, places and sizes of the planes
    place = 8 + len(data)
    tags = [(256, 1, width), (257, 1, 1), (258, 3, place), (259, 1, 1), (262, 1, 2), (273, 3, place + 6), (277, 1, 3)]
    tags += [(278, 1, 1), (279, 3, place + 12), (284, 1, 2)]
    stored_lists = b"".join(struct.pack("<3H", *numbers) for numbers in lists)
    directory = b"".join(struct.pack("<HHII", tag, 3, count, value) for tag, count, value in tags)
    head = b"II*\0" + struct.pack("<I", place + len(stored_lists))
    return head + data + stored_lists + struct.pack("<H", len(tags)) + directory + b"\0" * 4


def read_alone(path: Path) -> tuple[Any, list[str]]:
    """Return the pixels of a file as lists, and the notes."""
    notes = FileNotes()
    pixels = read_image(path, notes)
    check_range([pixels.peak], path)
    return np.asarray(pixels.image).tolist(), list(notes.lines())


def image(make: Callable[[], bytes], name: str = "a.png") -> Read:
    """Return the reading of one image file, which also compares `folder:` with `run`."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        for place in ("x", "y"):
            (folder / place).mkdir()
            (folder / place / name).write_bytes(make())
        alone, lines = read_alone(folder / "x" / name)
        inputs, said = read_source(f"folder:{folder}", lambda source: source.inputs)
        together = inputs[0].transpose(1, 2, 0)
        assert np.array_equal(together.squeeze(2) if together.shape[2] == 1 else together, alone)
        assert all(any(line.partition(": ")[0] in more for more in said) for line in lines)
        return alone, lines

    return read


def _frames(form: str) -> bytes:
    second = Image.fromarray(GREY[:, ::-1].copy())
    return stored(Image.fromarray(GREY), form, save_all=True, append_images=[second])


def _palette(transparent: int | None) -> bytes:
    picture = Image.new("P", (3, 1))
    picture.putdata([0, 1, 2])
    picture.putpalette([*COLOURS.ravel().tolist(), 9, 9, 9])
    return stored(picture, "PNG", **({} if transparent is None else {"transparency": transparent}))


def _floats(*values: float) -> bytes:
    return stored(Image.fromarray(np.array([values], np.float32)), "TIFF")


def _turned(form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    options = {"tiffinfo": {_ORIENTATION: orientation}} if form == "TIFF" else {"exif": exif}
    return stored(Image.fromarray(np.repeat(COLOURS, 1, 0)), form, **options)


def _merged(mode: str, *bands: np.ndarray) -> bytes:
    return stored(Image.merge(mode, [Image.fromarray(band) for band in bands]), "PNG")


ROWS = (
    InputRow("grey, 8 bits", ACCEPTED, "as it is", image(lambda: stored(Image.fromarray(GREY), "PNG")), GREY.tolist()),
    InputRow(
        "RGB, 8 bits", ACCEPTED, "as it is", image(lambda: stored(Image.fromarray(COLOURS), "PNG")), COLOURS.tolist()
    ),
    InputRow(
        "black and white, 1 bit",
        CONVERTED,
        "0 and 255",
        image(lambda: stored(Image.fromarray(GREY > 50), "PNG")),
        [[0, 255, 255]],
    ),
    InputRow("palette, also of GIF", CONVERTED, "RGB", image(lambda: _palette(None)), COLOURS.tolist()),
    InputRow(
        "grey, 16 bits (PNG, TIFF of either byte order, PGM)",
        CONVERTED,
        "divided by 257: 65535 is white",
        image(lambda: stored(Image.fromarray(WIDE), "PNG")),
        GREY.tolist(),
    ),
    InputRow(
        "grey, 12 bits (TIFF)",
        CONVERTED,
        "divided by 4095 / 255: 4095 is white",
        image(lambda: tiff_12_bits([0, 1606, 2048, 4095])),
        [[0, 100, 128, 255]],
    ),
    InputRow(
        "grey, 16 bits, TIFF in which white is 0",
        CONVERTED,
        "inverted, as that TIFF says",
        image(lambda: with_tag(stored(Image.fromarray(WIDE), "TIFF"), _PHOTOMETRIC, 0)),
        [[255, 155, 0]],
    ),
    InputRow(
        "RGB, 16 bits",
        CONVERTED,
        "divided by 256, rounded down, as Pillow reads it",
        image(lambda: png(16, 2, [(COLOURS.astype(">u2") * 257).tobytes()], 3)),
        COLOURS.tolist(),
    ),
    InputRow(
        "RGB, 16 bits, in planes (TIFF)",
        REFUSED,
        "Pillow reads the bytes of such values as pixels",
        image(lambda: tiff_16_bits_in_planes(COLOURS.astype(np.uint16) * 257), "a.tif"),
        "planes of 16 bits, one after the other, which Pillow reads as bytes",
    ),
    InputRow(
        "16 bits, of which the largest value is below 4096, or floats below 1/16 (in a folder: of all files)",
        REFUSED,
        "values of 12 or 8 bits in a file of 16: nearly black",
        image(lambda: stored(Image.fromarray(WIDE // 16), "PNG")),
        "whose largest value is 4095 of 65535 for white: nearly black",
    ),
    InputRow(
        "whole numbers of 32 bits, or of 16 with a sign (TIFF)",
        REFUSED,
        "which value is white is not known",
        image(lambda: stored(Image.fromarray(WIDE.astype(np.int32)), "TIFF")),
        "whole numbers from 0 to 65535, whose range for black to white is not known",
    ),
    InputRow(
        "bytes with a sign (TIFF)",
        REFUSED,
        "which value is black is not known",
        image(lambda: stored(Image.fromarray(GREY), "TIFF", tiffinfo={_SAMPLE_FORMAT: 2})),
        "signed numbers, whose range is not known",
    ),
    InputRow(
        "floats from 0 to 1",
        CONVERTED,
        "times 255, rounded",
        image(lambda: _floats(0, 100 / 255, 1), "a.tif"),
        GREY.tolist(),
    ),
    InputRow(
        "floats below 0 or above 1",
        REFUSED,
        "which value is white is not known",
        image(lambda: _floats(0, 100, 255), "a.tif"),
        "floats from 0 to 255, whose range for black to white is not known",
    ),
    InputRow(
        "floats with NaN or infinity",
        REFUSED,
        "no pixel has that value",
        image(lambda: _floats(0, float("nan"), 1), "a.tif"),
        "floats, and 1 are NaN or infinite",
    ),
    InputRow(
        "alpha channel, everything opaque",
        CONVERTED,
        "the alpha channel is left out",
        image(lambda: _merged("LA", GREY, OPAQUE)),
        GREY.tolist(),
    ),
    InputRow(
        "transparent pixels",
        REFUSED,
        "what lies behind them is not known",
        image(lambda: _merged("LA", GREY, HALF)),
        "has transparent pixels, and the file does not say what lies behind them",
    ),
    InputRow(
        "palette or key colour that is transparent, and no pixel has it",
        CONVERTED,
        "RGB or grey",
        image(lambda: _palette(3)),
        COLOURS.tolist(),
    ),
    InputRow(
        "palette or key colour that is transparent, and a pixel has it",
        REFUSED,
        "what lies behind it is not known",
        image(lambda: _palette(1)),
        "has transparent pixels",
    ),
    InputRow(
        "CMYK",
        CONVERTED,
        "RGB, without a colour profile",
        image(lambda: stored(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), "a.tif"),
        COLOURS.tolist(),
        "CMYK was converted to RGB without a colour profile",
    ),
    InputRow(
        "orientation in EXIF",
        CONVERTED,
        "turned and mirrored as it says, all eight of them",
        image(lambda: _turned("PNG", 6)),
        COLOURS.transpose(1, 0, 2).tolist(),
    ),
    InputRow(
        "several frames or pages (GIF, TIFF, WebP, APNG)",
        CONVERTED,
        "the first one",
        image(lambda: _frames("TIFF"), "a.tif"),
        GREY.tolist(),
        "holds several frames, of which the first is read",
    ),
    InputRow(
        "one colour only",
        ACCEPTED,
        "with a warning",
        image(lambda: stored(Image.fromarray(OPAQUE), "PNG")),
        OPAQUE.tolist(),
        "warning: is of one colour only",
    ),
    InputRow(
        "a file that is cut off",
        REFUSED,
        "no half images",
        image(lambda: stored(Image.effect_noise((64, 64), 50), "PNG")[:1000]),
        "cannot be read as an image",
    ),
    InputRow(
        "another format, whatever the name of the file",
        REFUSED,
        "the list of formats is closed: PNG, JPEG, BMP, PPM, GIF, WebP, TIFF, and AVIF where Pillow has it",
        image(lambda: stored(Image.fromarray(GREY), "PCX")),
        "cannot be read as an image: it is none of PNG, JPEG",
    ),
)
