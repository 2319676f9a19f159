"""Rows of the inputs of `eetool run`, for a model of grey images of 4×4 pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eetool.data.file_notes import FileNotes
from eetool.data.input_files import read_inputs
from eetool_runtime import load
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow
from tests.helpers.tiny_bundle import image, pixels, write_tiny_bundle

_PIXELS = pixels(2, 1.0)
_ROW = image(2, 1.0)[0, 0].tolist()  # the values of those pixels in the network


def given(write: Callable[[Path], object], suffix: str) -> Callable[[Path], Any]:
    """Return the reading of a file, which gives the values of the first input."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        notes = FileNotes()
        write(folder / f"a{suffix}")
        arrays = read_inputs(folder / f"a{suffix}", load(write_tiny_bundle(folder)), notes=notes)
        return arrays[0][0, 0].tolist(), list(notes.lines())

    return read


def picture(array: np.ndarray) -> Callable[[Path], Any]:
    return given(lambda path: Image.fromarray(array).save(path), ".png")


def array(values: np.ndarray) -> Callable[[Path], Any]:
    return given(lambda path: np.save(path, values), ".npy")


ROWS = (
    InputRow("an image file of the model's size and colours", ACCEPTED, "as in `folder:`", picture(_PIXELS), _ROW),
    InputRow(
        "a colour image, where the model takes grey",
        CONVERTED,
        "grey; grey for a model of colours is repeated",
        picture(np.repeat(_PIXELS[:, :, None], 3, 2)),
        _ROW,
        "colour was converted to grey",
    ),
    InputRow(
        "an image file of another size",
        CONVERTED,
        "resized by the rule of the model; where it has none, cropped, and it is said that this is a guess",
        picture(np.full((8, 9), 32, np.uint8)),
        np.zeros((4, 4)).tolist(),
        "9×8 resized to 4×4 (crop: a guess, because the bundle has no rule of resizing)",
    ),
    InputRow(
        "an `.npy` uint8 (C, H, W) or (N, C, H, W)",
        ACCEPTED,
        "normalised as the model says",
        array(_PIXELS[None]),
        _ROW,
    ),
    InputRow("an `.npy` of floats that are normalised", ACCEPTED, "as it is", array(image(2, 1.0)), _ROW),
    InputRow(
        "an `.npy` of floats that no pixel has after normalisation, such as 0 to 255",
        REFUSED,
        "they are not normalised",
        array(_PIXELS[None, None].astype(np.float32)),
        "values from 32 to 64, where pixels of this model are normalised to -1 to 6.96875",
    ),
    InputRow(
        "an `.npy` of another shape, such as (N, H, W, C)",
        REFUSED,
        "the expected one is said; the hint has the transposition",
        array(_PIXELS[None, :, :, None]),
        "expected shape (batch, 1, 4, 4) for input 'input', found (1, 4, 4, 1)",
    ),
)
