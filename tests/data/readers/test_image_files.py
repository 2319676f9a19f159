"""Image files: the same upright pixels in `folder:` and `run`, whatever the file stores."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eetool.data.file_notes import FileNotes
from eetool.data.input_files import read_inputs
from eetool.data.readers.image_files import read_image
from eetool.data.registry import load_source
from eetool.errors import ArtefactError
from eetool_runtime import load
from tests.helpers.input_rows.image_rows import png, with_tag
from tests.helpers.tiny_bundle import image, pixels, write_tiny_bundle

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)  # every corner and edge differs
ORIENTATION = 274
TURNED = {  # what an upright image looks like in the file, by the orientation that the file states
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}


def read(path: Path) -> np.ndarray:
    return np.asarray(read_image(path, FileNotes()).image)


def write_turned(path: Path, upright: np.ndarray, form: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"tiffinfo": {ORIENTATION: orientation}} if form == "TIFF" else {"exif": exif}
    if form == "JPEG":
        options |= {"quality": 100}
    stored.save(path, form, **({**options, "lossless": True} if form == "WEBP" else options))


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_read_image_any_orientation_is_turned_upright(tmp_path: Path, form: str, orientation: int) -> None:
    write_turned(tmp_path / "a.png", RAMP, form, orientation)
    result = read(tmp_path / "a.png").astype(int)
    result = result if result.ndim == 2 else result[:, :, 0]
    assert result.shape == RAMP.shape
    assert abs(result - RAMP).max() <= (3 if form == "JPEG" else 0)


def test_read_inputs_turned_image_has_the_values_of_the_folder(tmp_path: Path) -> None:
    model = load(write_tiny_bundle(tmp_path))
    for name in ("x", "y"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        write_turned(tmp_path / "photos" / name / "1.png", pixels(0, 2.0), "PNG", 6)
    (array,) = read_inputs(tmp_path / "photos/x/1.png", model)
    assert np.array_equal(array, image(0, 2.0)), "turned as stored, the bright row would be a column"
    assert np.array_equal(load_source(f"folder:{tmp_path / 'photos'}").inputs[0, 0], pixels(0, 2.0))


@pytest.mark.parametrize(("form", "mode"), [("PNG", "I;16"), ("PPM", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")])
def test_read_image_16_bits_are_divided_by_257(tmp_path: Path, form: str, mode: str) -> None:
    values = np.array([[0, 128, 129, 257, 40_000, 65_535]], np.uint16)
    data = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    Image.frombytes(mode, (6, 1), data).save(tmp_path / "a.png", form)
    assert read(tmp_path / "a.png").tolist() == [[0, 0, 1, 1, 156, 255]]


def test_read_image_folder_dark_16_bit_file_beside_a_bright_one_is_read(tmp_path: Path) -> None:
    for name, top in (("a", 65_535), ("b", 4_000)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.array([[0, top]], np.uint16)).save(tmp_path / name / "1.png")
    assert load_source(f"folder:{tmp_path}").inputs[:, 0, 0].tolist() == [[0, 255], [0, 16]]
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(ArtefactError, match="2 files of 16 bits or floats, whose largest value is 4095 of 65535"):
        load_source(f"folder:{tmp_path}")


def test_read_inputs_dark_16_bits_in_colour_are_refused(tmp_path: Path) -> None:
    dark = np.full((1, 3, 3), 4095, ">u2")
    (tmp_path / "a.png").write_bytes(png(16, 2, [dark.tobytes()], 3))
    with pytest.raises(ArtefactError, match="whose largest value is 3855 of 65535 for white: nearly black"):
        read_inputs(tmp_path / "a.png", load(write_tiny_bundle(tmp_path)))


KEY_16, KEY_4 = (40_000).to_bytes(2, "big"), (7).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("data", "is_refused"),
    [
        (png(16, 0, [np.array([40_000, 1], ">u2").tobytes()], 2, tRNS=KEY_16), True),
        (png(16, 0, [np.array([40_001, 1], ">u2").tobytes()], 2, tRNS=KEY_16), False),
        (png(16, 2, [np.full(3, 40_000, ">u2").tobytes()], 1, tRNS=KEY_16 * 3), True),
        (png(4, 0, [b"\x70"], 2, tRNS=KEY_4), True),
        (png(8, 0, [b"\x07\x08"], 2, tRNS=KEY_4), True),
        (png(8, 0, [b"\x06\x08"], 2, tRNS=KEY_4), False),
        (png(8, 2, [b"\x07\x07\x07\1\2\3"], 2, tRNS=KEY_4 * 3), True),
        (png(8, 2, [b"\x07\x07\x08\1\2\3"], 2, tRNS=KEY_4 * 3), False),
    ],
    ids=["wide", "wide unused", "wide colour", "4 bits", "grey", "grey unused", "colour", "colour unused"],
)
def test_read_image_transparent_key_is_refused_where_a_pixel_has_it(
    tmp_path: Path, data: bytes, is_refused: bool
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    if is_refused:
        with pytest.raises(ArtefactError, match="has transparent pixels"):
            read(tmp_path / "a.png")
    else:
        assert read(tmp_path / "a.png").max() > 0


def test_read_image_white_is_zero_floats_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 1]], np.float32)).save(file, "TIFF")
    (tmp_path / "a.tif").write_bytes(with_tag(file.getvalue(), 262, 0))
    with pytest.raises(ArtefactError, match="whose range for black to white is not known"):
        read(tmp_path / "a.tif")


def test_read_inputs_dark_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.05]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ArtefactError, match="whose largest value is 3276 of 65535 for white"):
        read_inputs(tmp_path / "a.tif", load(write_tiny_bundle(tmp_path)))


def test_read_image_portable_float_map_is_multiplied_by_255(tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(b"Pf\n3 1\n-1.0\n" + np.array([0, 100 / 255, 1], "<f4").tobytes())
    assert read(tmp_path / "a.pfm").tolist() == [[0, 100, 255]]


def test_read_image_lab_has_the_grey_of_its_lightness(tmp_path: Path) -> None:
    Image.merge("LAB", [Image.new("L", (2, 1), 128)] * 3).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").tolist() == [[[119, 119, 119]] * 2]
