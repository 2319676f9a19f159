"""Rows of `package.module:function`, examples of a function of the user."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eetool.data.source import Source
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

_HEAD = """
import numpy as np
from PIL import Image
RGB = np.arange(4 * 3 * 6 * 6, dtype=np.uint8).reshape(4, 3, 6, 6)
LABELS = [0, 1, 0, 1]
def load(): return """


def _show(source: Source) -> Any:
    shape, first = source.inputs.shape, source.inputs.ravel()[-1].item()
    return source.classes, source.labels.tolist(), shape, first, (source.official_validation, source.official_test)


def returned(expression: str) -> Callable[[Path], Any]:
    """Return the reading of a function that returns the value of `expression`."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        (folder / "userdata.py").write_text(_HEAD + expression + "\n")
        before = Path.cwd()
        os.chdir(folder)
        try:
            return read_source("userdata:load", _show)
        finally:
            os.chdir(before)
            sys.modules.pop("userdata", None)

    return read


SOUND = (("0", "1"), [0, 1, 0, 1], (4, 3, 6, 6), 175, (0, 0))

ROWS = (
    InputRow(
        "a Dataset of torch, or another sequence of (input, label) pairs",
        ACCEPTED,
        "every example is read once",
        returned("list(zip(RGB, LABELS))"),
        SOUND,
    ),
    InputRow("arrays or tensors (inputs, labels)", ACCEPTED, "as they are", returned("(RGB, LABELS)"), SOUND),
    InputRow(
        "either with the names of the classes, as one more item or the attribute `classes` of a Dataset",
        ACCEPTED,
        "in the order of the labels",
        returned('(RGB, LABELS, ["cat", "dog"])'),
        (("cat", "dog"), *SOUND[1:]),
    ),
    InputRow(
        "a dict with `train`, `val`, `test` of these, and `classes`",
        ACCEPTED,
        "as the sets of a folder",
        returned('{"train": (RGB, LABELS), "test": (RGB[:2] + 1, [1, 0])}'),
        (("0", "1"), [0, 1, 0, 1, 1, 0], (6, 3, 6, 6), 216, (0, 2)),
    ),
    InputRow(
        "images of Pillow, grey or RGB",
        CONVERTED,
        "the channels come first",
        returned("[(Image.fromarray(x.transpose(1, 2, 0)), y) for x, y in zip(RGB, LABELS)]"),
        SOUND,
    ),
    InputRow(
        "floats (C, H, W), as `ToTensor` of torchvision makes them",
        CONVERTED,
        "float32, neither normalised nor augmented; this is said",
        returned("(RGB / 256.0, LABELS)"),
        (*SOUND[:3], 175 / 256, (0, 0)),
        "floats are finished inputs",
    ),
    InputRow(
        "examples of several sizes or types",
        REFUSED,
        "a network takes one size",
        returned("[(RGB[0], 0), (RGB[1, :, :4], 1)]"),
        "example 1 is uint8 (3, 4, 6), and example 0 is uint8 (3, 6, 6)",
    ),
    InputRow(
        "images of Pillow in other modes, such as with transparency",
        REFUSED,
        "what lies behind them is not known; the hint has the line to type",
        returned('[(Image.new("RGBA", (6, 6)), y) for y in LABELS]'),
        "an image of Pillow has the mode RGBA",
    ),
    InputRow(
        "an error of the function or of the Dataset",
        REFUSED,
        "told as yours, with the file and the line",
        returned("1 // 0"),
        "userdata:load fails in userdata.py:6: ZeroDivisionError",
    ),
)
