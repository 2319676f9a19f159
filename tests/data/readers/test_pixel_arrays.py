"""Arrays as pixels: layouts that are taken, and hints whose line makes the array right."""

import re

import numpy as np
import pytest

from eetool.data.readers.pixel_arrays import check_pixels, flat_images, odd_channels
from eetool.errors import ArtefactError

PIXELS = np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8)


def hint_for(images: np.ndarray) -> str:
    with pytest.raises(ArtefactError) as caught:
        check_pixels("a.npz: images", images)
    assert caught.value.hint is not None
    return caught.value.hint


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 28, 28), (1, 4, 4), (2, 3, 3), (1, 1, 1), (3, 8, 3), (4, 20, 30), (16, 8, 8), (6, 9, 20)]
)
def test_check_pixels_channels_first_are_taken(shape: tuple[int, ...]) -> None:
    check_pixels("images", np.zeros((2, *shape), np.uint8))


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (16, 24, 4), (4, 4, 1), (4, 4, 3), (8, 8, 16), (2, 9, 3)])
def test_check_pixels_channels_last_are_refused_with_transposition(shape: tuple[int, ...]) -> None:
    assert "images.transpose(0, 3, 1, 2)" in hint_for(np.zeros((2, *shape), np.uint8))


@pytest.mark.parametrize(
    "images",
    [
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        PIXELS.astype(np.float64),
        PIXELS.astype(np.int64),
        PIXELS.astype(np.uint16) * 257,
        PIXELS.transpose(0, 2, 3, 1),
        PIXELS[:, 0],
        PIXELS > 100,
    ],
    ids=["unit", "unit float32", "float64", "int64", "uint16", "channels last", "no channel", "bool"],
)
def test_check_pixels_line_of_the_hint_gives_the_pixels(images: np.ndarray) -> None:
    line = re.search(r"[Ss]tore (.*?)(\.$|\. |, which)", hint_for(images))
    assert line is not None
    fixed = eval(line[1], {"np": np, "images": images})  # noqa: S307
    expected = {"bool": (PIXELS > 100) * np.uint8(255)}.get(images.dtype.name, PIXELS)
    assert fixed.dtype == np.uint8
    assert np.array_equal(fixed, expected[:, :1] if images.ndim == 3 else expected)


@pytest.mark.parametrize("images", [PIXELS - 300.5, np.full(PIXELS.shape, np.nan), PIXELS * 1e6])
def test_check_pixels_normalised_values_are_sent_to_features(images: np.ndarray) -> None:
    assert hint_for(images).endswith("Finished inputs, such as normalised ones, are `features`.")


def test_odd_channels_and_flat_images_are_said_with_numbers() -> None:
    assert odd_channels(PIXELS) is None
    assert odd_channels(PIXELS.reshape(2, 12, 4, 4)) == "read as images of 12 channels, 4×4 pixels"
    flat = PIXELS.copy()
    flat[1] = np.array([3, 200, 9], np.uint8)[:, None, None]
    assert flat_images(PIXELS) is None
    assert flat_images(flat) == "warning: 1 of 2 images are of one colour only, the first is 1"
