"""Rows of `npz:` archives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.source import Source
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

RGB = np.arange(4 * 3 * 6 * 6, dtype=np.uint8).reshape(4, 3, 6, 6)
LABELS = np.array([0, 1, 0, 1])
VECTORS = np.arange(12.0).reshape(4, 3)


def _show(source: Source) -> Any:
    shape, first = source.inputs.shape, source.inputs.ravel()[-1].item()
    return source.classes, source.labels.tolist(), shape, first, (source.official_validation, source.official_test)


def archive(show: Callable[[Source], Any] = _show, **arrays: Any) -> Callable[[Path], Any]:
    """Return the reading of an archive of `arrays`; images and labels are sound ones if they are not given."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        examples = {} if "features" in arrays else {"images": RGB}
        np.savez(folder / "a.npz", **{**examples, "labels": LABELS, **arrays})
        return read_source(f"npz:{folder / 'a.npz'}", show)

    return read


def _classes(source: Source) -> Any:
    return source.classes


SOUND = (("0", "1"), [0, 1, 0, 1], (4, 3, 6, 6), 175, (0, 0))

ROWS = (
    InputRow("`images` uint8 (N, C, H, W)", ACCEPTED, "as they are", archive(), SOUND),
    InputRow(
        "`images` of another number of channels than 1 to 4",
        ACCEPTED,
        "as they are; the number is said",
        archive(images=RGB.reshape(4, 12, 3, 3).repeat(2, 2).repeat(2, 3)),
        (("0", "1"), [0, 1, 0, 1], (4, 12, 6, 6), 175, (0, 0)),
        "read as images of 12 channels, 6×6 pixels",
    ),
    InputRow(
        "`images` (N, H, W, C)",
        REFUSED,
        "the channels are last; the hint has the transposition",
        archive(images=RGB.transpose(0, 2, 3, 1)),
        "would have 6 channels of 6×3 pixels: the channels seem to be last",
    ),
    InputRow(
        "`images` (N, H, W)",
        REFUSED,
        "the channel is missing; the hint has the line to type",
        archive(images=RGB[:, 0]),
        "images are uint8 (4, 6, 6), not uint8 (N, C, H, W)",
    ),
    InputRow(
        "`images` of floats, of other integers or of booleans",
        REFUSED,
        "which value is white is not known; the hint has the line to type for the range that they have",
        archive(images=RGB / np.float32(255)),
        "images are float32 (4, 3, 6, 6), not uint8 (N, C, H, W)",
    ),
    InputRow(
        "`images` of one colour only",
        ACCEPTED,
        "with a warning and their number; a channel that is constant in all training images, or all values below 16, "
        "likewise",
        archive(images=np.where(np.arange(4)[:, None, None, None] == 2, np.uint8(9), RGB)),
        SOUND,
        "warning: 1 of 4 images are of one colour only, the first is 2",
    ),
    InputRow(
        "`features` of floats of 16, 32 or 64 bits (N, D), (N, T, D) or (N, C, H, W)",
        CONVERTED,
        "float32",
        archive(features=VECTORS),
        (("0", "1"), [0, 1, 0, 1], (4, 3), 11.0, (0, 0)),
    ),
    InputRow(
        "`features` with NaN or infinity, also after conversion to float32",
        REFUSED,
        "no network can use them",
        archive(features=np.where(VECTORS == 7, 1e300, VECTORS)),
        "features of example 2 are not finite as float32",
    ),
    InputRow(
        "`test_images` and `test_labels`, and the same with `val_`",
        ACCEPTED,
        "as `test` and `val` of a folder",
        archive(val_images=RGB[:2] + 7, val_labels=[1, 0], test_images=RGB[:2] + 1, test_labels=[0, 1]),
        (("0", "1"), [0, 1, 0, 1, 1, 0, 0, 1], (8, 3, 6, 6), 216, (2, 2)),
    ),
    InputRow(
        "`val_images` without `test_images`",
        CONVERTED,
        "the test set",
        archive(val_images=RGB[:1] + 7, val_labels=[1]),
        (("0", "1"), [0, 1, 0, 1, 1], (5, 3, 6, 6), 114, (0, 1)),
        "val_images are the test set, because there are no test_images",
    ),
    InputRow(
        "arrays of other names",
        CONVERTED,
        "left out, and named",
        archive(x_train=VECTORS),
        SOUND,
        "not used: the arrays 'x_train'",
    ),
    InputRow(
        "`labels` of integers from 0, one for each example",
        ACCEPTED,
        "their names are their numbers",
        archive(_classes, labels=LABELS.astype(np.uint8)),
        ("0", "1"),
    ),
    InputRow(
        "`labels` of floats or texts, in columns or one-hot",
        REFUSED,
        "labels are the numbers of the classes; the hint has the line to type",
        archive(labels=np.eye(2)[LABELS]),
        "labels are float64 (4, 2), not integers (N,)",
    ),
    InputRow(
        "`labels` from 1, or with gaps",
        REFUSED,
        "a class without examples cannot be learned",
        archive(labels=LABELS + 1),
        "no training example is of class '0'",
    ),
    InputRow(
        "one class only",
        REFUSED,
        "there is nothing to tell apart",
        archive(labels=LABELS * 0),
        "all 4 examples are of one class, '0'",
    ),
    InputRow(
        "`classes` of texts",
        ACCEPTED,
        "in the order of the labels",
        archive(_classes, classes=["cat", "dog"]),
        ("cat", "dog"),
    ),
    InputRow(
        "`classes` of bytes or integers",
        CONVERTED,
        "texts; bytes are read as UTF-8",
        archive(_classes, classes=np.array(["é".encode(), b"dog"])),
        ("é", "dog"),
    ),
    InputRow(
        "`classes` as one number or one text",
        REFUSED,
        "one name for each class is needed",
        archive(classes=2),
        "classes are one value, '2', not a list",
    ),
    InputRow(
        "`classes` with a name twice",
        REFUSED,
        "two classes could not be told apart",
        archive(classes=["cat", "cat"]),
        "the classes 0 and 1 have one name, 'cat'",
    ),
    InputRow(
        "arrays of Python objects",
        REFUSED,
        "to read them is to run code",
        archive(classes=np.array(["cat", "dog"], object)),
        "'classes.npy': it holds object, and no plain numbers or texts",
    ),
)
