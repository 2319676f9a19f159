"""Pictures of any size: the pixels of Pillow within 1 of 255, from arrays, files and bytes."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime.errors import BackendError, InputError
from eetool_runtime.manifest import FITS, Input, Preprocess, Resize
from eetool_runtime.preprocess import picture_pixels, preprocess
from eetool_runtime.resize import PAD_VALUE, fit_spans, resize

SIDES = st.one_of(st.integers(1, 4), st.integers(1, 90))


def spec(channels: int, height: int, width: int, fit: str = "crop") -> Input:
    rule = Preprocess(1 / 255, (0.0,) * channels, (1.0,) * channels, Resize(fit))
    return Input("image", "float32", ("batch", channels, height, width), rule)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    image_class = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image_class.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(FITS), st.sampled_from([1, 3]))
def test_preprocess_any_size_equals_pillow_within_one_level(
    height: int, width: int, rows: int, columns: int, fit: str, channels: int
) -> None:
    pixels = noise(height, width, channels)
    rule = spec(channels, rows, columns, fit)
    expected = picture_pixels(png(pixels[:, :, 0] if channels == 1 else pixels), rule)
    actual = picture_pixels(pixels, rule)
    assert actual.shape == expected.shape == (rows, columns, channels)
    assert abs(actual.astype(int) - expected).max() <= 1
    assert abs(preprocess(pixels, rule) - actual.transpose(2, 0, 1) / 255).max() < 1e-6


@given(st.integers(1, 400), st.integers(1, 400), SIDES, SIDES, st.sampled_from(FITS))
def test_fit_spans_stay_in_picture_and_result(height: int, width: int, rows: int, columns: int, fit: str) -> None:
    for span, size, full in zip(fit_spans(height, width, (rows, columns), fit), (height, width), (rows, columns)):
        assert 0 <= span.start < span.stop <= size
        assert 1 <= span.size <= span.size + span.offset <= full


def test_resize_fits_differ_as_documented() -> None:
    pixels = np.zeros((10, 30, 1), np.uint8)
    pixels[:, 10:20] = 250  # a bright middle third
    assert (resize(pixels, (4, 4), "crop")[:, 1:3] == 250).all()
    padded = resize(pixels, (6, 6), "pad")[:, :, 0]
    assert (padded[[0, 1, 4, 5]] == PAD_VALUE).all()
    assert padded[2:4].tolist() == [[0, 30, 220, 220, 30, 0]] * 2  # the filter reaches into the neighbour
    left, middle, right = resize(pixels, (2, 3), "stretch")[0, :, 0].tolist()
    assert left == right < 40 < 180 < middle


@pytest.mark.parametrize("shape", [(10, 10_000, 3), (10_000, 10, 3), (1, 5_000, 3), (5_000, 1, 3), (1, 1, 3)])
@pytest.mark.parametrize("fit", FITS)
def test_preprocess_extreme_proportions_give_the_model_input(shape: tuple[int, ...], fit: str) -> None:
    assert preprocess(noise(*shape), spec(3, 96, 96, fit)).shape == (1, 3, 96, 96)


def test_preprocess_channels_are_converted_after_resizing() -> None:
    grey, colour = noise(9, 7), noise(9, 7, 3)
    opaque = np.dstack([colour, np.full((9, 7), 255, np.uint8)])
    repeated = picture_pixels(grey, spec(3, 4, 4))
    assert (repeated == picture_pixels(grey, spec(1, 4, 4))).all()
    assert (picture_pixels(opaque, spec(3, 4, 4)) == picture_pixels(colour, spec(3, 4, 4))).all()
    luma = picture_pixels(colour, spec(1, 4, 4)).astype(int)
    assert abs(luma - picture_pixels(png(colour), spec(1, 4, 4))).max() <= 1


def test_preprocess_path_and_bytes_are_read(tmp_path: Path) -> None:
    data, rule = png(noise(30, 40, 3)), spec(3, 8, 8)
    (tmp_path / "photo.bin").write_bytes(data)
    for given_as in (tmp_path / "photo.bin", str(tmp_path / "photo.bin"), bytearray(data)):
        np.testing.assert_array_equal(preprocess(given_as, rule), preprocess(data, rule))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"expected raw pixels uint8 any size, found uint8 \(0, 5, 3\)"),
        (np.zeros((5, 0), np.uint8), "any size, found"),
        (np.zeros((3, 96, 96), np.uint8), "any size, found"),
        (np.zeros((9, 9, 3), np.float32), "found float32"),
        (np.zeros((9, 9), np.uint16), "found uint16"),
        (np.zeros((9, 9, 4), np.uint8), "transparent pixels"),
    ],
)
def test_preprocess_unusable_picture_raises_input_error(raw: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preprocess(raw, spec(3, 8, 8))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"not an image", "12 bytes: cannot be read as an image"),
        ("/nowhere/photo.jpg", r"photo\.jpg: cannot be read: No such file"),
        ("\0", "cannot be read"),
    ],
)
def test_preprocess_unusable_file_raises_input_error(raw: Any, message: str) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    with pytest.raises(InputError, match=message):
        preprocess(raw, spec(3, 8, 8))


def test_preprocess_truncated_file_raises_input_error() -> None:
    with pytest.raises(InputError, match="cannot be read as an image"):
        preprocess(png(noise(64, 64, 3))[:-4000], spec(3, 8, 8))


def test_preprocess_file_without_pillow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("eetool_runtime.image_files", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError) as caught:
        preprocess(b"", spec(3, 8, 8))
    assert "eetool-runtime[image]" in (caught.value.hint or "")


def test_preprocess_file_of_another_size_without_rule_raises_input_error() -> None:
    exact = Input("image", "float32", ("batch", 3, 4, 4), Preprocess(1 / 255, (0.0,) * 3, (1.0,) * 3))
    assert preprocess(png(noise(4, 4, 3)), exact).shape == (1, 3, 4, 4)
    with pytest.raises(InputError, match="expected an image of 4 x 4 pixels, found 5 x 4"):
        preprocess(png(noise(5, 4, 3)), exact)
