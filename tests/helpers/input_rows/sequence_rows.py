"""Rows of sequences: `npz:` with groups, `signal:` windows and `frames:` of clips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eetool.data.source import Source
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

SAMPLES = np.arange(2 * 80, dtype=np.float32).reshape(80, 2)  # at 10 Hz
TABLE = "clip,label,group,fps\none,cat,home,2\ntwo,dog,garden,2\n"


def _show(source: Source) -> Any:
    order = source.order
    assert order is not None
    return source.labels.tolist(), order.sequence.tolist(), order.groups, order.period_s


def sequences(**arrays: Any) -> Callable[[Path], Any]:
    """Return the reading of an archive of four vectors in two sequences."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        ours = {"features": np.arange(12.0).reshape(4, 3), "labels": np.array([0, 1, 0, 1])}
        names = {"sequence": np.array([0, 0, 1, 1]), "group": np.array(["x", "x", "y", "y"]), "period_s": 0.5}
        np.savez(folder / "s.npz", **{**ours, **names, **arrays})
        return read_source(f"npz:{folder / 's.npz'}", _show)

    return read


def signal(**arrays: Any) -> Callable[[Path], Any]:
    """Return the reading of windows of 2 s every second, of two recordings at 10 Hz."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        ours = {
            "samples": SAMPLES,
            "length": np.array([40, 40]),
            "label": np.array([0, 1]),
            "subject": np.array([1, 2]),
        }
        np.savez(folder / "r.npz", **{**ours, "rate": 10.0, **arrays})
        return read_source(f"signal:{folder / 'r.npz'}@2/1", _show)

    return read


def frames(table: str = TABLE, second: tuple[int, ...] = (1, 2)) -> Callable[[Path], Any]:
    """Return the reading of two clips; `second` are the numbers of the second clip's images."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        for clip, numbers in (("one", (1, 2)), ("two", second)):
            (folder / clip).mkdir()
            for number in numbers:
                value = number + 90 * (clip == "two")
                pixels = np.full((6, 6, 3), value, np.uint8)
                pixels[0, 0] = 255
                Image.fromarray(pixels).save(folder / clip / f"{number:04}.png")
        (folder / "labels.csv").write_text(table)
        return read_source(f"frames:{folder}", _show)

    return read


WINDOWS = ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], ("1", "2"), 1.0)
CHANGING = np.where(np.arange(80) < 25, 0, 1)

ROWS = (
    InputRow(
        "`npz:` with `sequence` and `group` (N,)",
        ACCEPTED,
        "whole groups in every split",
        sequences(),
        ([0, 1, 0, 1], [0, 0, 1, 1], ("x", "y"), 0.5),
    ),
    InputRow(
        "`time_s` with a pause of three periods or more",
        CONVERTED,
        "a new sequence begins",
        sequences(sequence=np.zeros(4, int), group=np.zeros(4, int), time_s=np.array([0, 0.5, 9, 9.5])),
        ([0, 1, 0, 1], [0, 0, 1, 1], ("0",), 0.5),
        "1 pause of 3 periods or more",
    ),
    InputRow(
        "a sequence that goes on after another one",
        REFUSED,
        "the order of examples is that of time",
        sequences(sequence=np.array([0, 1, 0, 1]), group=np.zeros(4, int)),
        "goes on at example 2 after another one",
    ),
    InputRow(
        "a group in the training and the test set",
        REFUSED,
        "its examples are not independent",
        sequences(
            test_features=np.ones((1, 3)), test_labels=[0], test_sequence=np.array(["z"]), test_group=np.array(["x"])
        ),
        "is in two of the training, validation and test sets",
    ),
    InputRow("`signal:FILE` of recordings", ACCEPTED, "windows inside each recording", signal(), WINDOWS),
    InputRow(
        "a window in which the label changes",
        CONVERTED,
        "the label of most of its samples, of two equal shares the later one",
        signal(label=CHANGING),
        ([0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], ("1", "2"), 1.0),
        "labels change inside 2 windows",
    ),
    InputRow(
        "a sample that is NaN or infinite",
        REFUSED,
        "the message has its place",
        signal(samples=np.where(np.arange(80)[:, None] == 7, np.nan, SAMPLES)),
        "sample 7 is not finite",
    ),
    InputRow(
        "`frames:DIR`, folders of numbered images and `labels.csv`",
        ACCEPTED,
        "a sequence per clip; a label per clip, or from a frame on",
        frames(),
        ([0, 0, 1, 1], [0, 0, 1, 1], ("garden", "home"), 0.5),
    ),
    InputRow(
        "three or more missing numbers of frames",
        CONVERTED,
        "a new sequence begins",
        frames(second=(1, 5)),
        ([0, 0, 1, 1], [0, 0, 1, 2], ("garden", "home"), 0.5),
        "1 pause of 3 periods or more",
    ),
    InputRow(
        "a clip in `labels.csv` without a folder",
        REFUSED,
        "every clip needs its frames",
        frames(TABLE + "three,cat,home,2\n"),
        "names a clip that is no folder",
    ),
)
