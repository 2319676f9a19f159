"""Rows of the archives of CIFAR and SVHN."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from eetool.data.source import Source
from tests.helpers.input_rows.row import ACCEPTED, CONVERTED, REFUSED, InputRow, read_source

_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_RECORD = np.arange(3073, dtype=np.uint64).astype(np.uint8)  # the first byte is the label, 0


def _show(source: Source) -> Any:
    return source.classes[:2], source.labels[:4].tolist(), source.inputs.shape, source.official_test


def cifar(cut: int = 0) -> Callable[[Path], Any]:
    """Return the reading of a CIFAR-10 of two images per file, of whose last file `cut` bytes are missing."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        other = _RECORD.copy()
        other[0] = 1
        data = _RECORD.tobytes() + other.tobytes()
        for name in _FILES:
            (folder / name).write_bytes(data[: len(data) - cut] if name == _FILES[-1] else data)
        (folder / "batches.meta.txt").write_text("ant\nbee\n")
        return read_source(f"cifar10:{folder}", _show)

    return read


def pickled(folder: Path) -> tuple[Any, list[str]]:
    """Read a CIFAR-10 in Python's layout whose first file would start a program."""
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    return read_source(f"cifar10:{folder}", _show)


def svhn(labels: np.ndarray) -> Callable[[Path], Any]:
    """Return the reading of an SVHN with these labels in both files."""

    def read(folder: Path) -> tuple[Any, list[str]]:
        pixels = np.zeros((32, 32, 3, len(labels)), np.uint8)
        for name in ("train", "test"):
            savemat(folder / f"{name}_32x32.mat", {"X": pixels, "y": labels[:, None]})
        return read_source(f"svhn:{folder}", _show)

    return read


ROWS = (
    InputRow(
        "CIFAR in the binary layout",
        ACCEPTED,
        "with the official test set",
        cifar(),
        (("ant", "bee"), [0, 1, 0, 1], (12, 3, 32, 32), 2),
    ),
    InputRow(
        "a file that is no whole number of records",
        REFUSED,
        "it is cut off, or another file",
        cifar(cut=1),
        "6145 bytes are no whole number of records of 3073 bytes",
    ),
    InputRow(
        "CIFAR in Python's layout with anything but arrays, lists, numbers and texts",
        REFUSED,
        "it is a program; nothing of it is run",
        pickled,
        "holds GLOBAL 'os system', which CIFAR's files do not; it was not run",
    ),
    InputRow(
        "SVHN, in which the digit 0 has the label 10",
        CONVERTED,
        "label 0",
        svhn(np.arange(1.0, 11.0)),
        (("0", "1"), [1, 2, 3, 4], (20, 3, 32, 32), 10),
    ),
    InputRow("other labels in SVHN", REFUSED, "they are no digits", svhn(np.arange(10) + 0.5), "not integers (N,)"),
)
