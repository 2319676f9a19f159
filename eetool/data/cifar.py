"""CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009) in their official binary layout.

A record is one label byte (CIFAR-100: coarse label, fine label) and 3,072 bytes of pixels: planes R, G, B of 32×32.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eetool.data.sources import Source
from eetool.errors import ArtefactError

_PIXELS = 3 * 32 * 32


def read_cifar10(place: Path) -> Source:
    """50,000 training and up to 10,000 test images of 10 classes; `place` is the folder of the files or above it."""
    folder = _folder(place, "cifar-10-batches-bin", "data_batch_1.bin")
    files = [folder / f"data_batch_{i}.bin" for i in range(1, 6)]
    return _read("cifar10", files, folder / "test_batch.bin", folder / "batches.meta.txt", label_bytes=1)


def read_cifar100(place: Path) -> Source:
    """50,000 training and 10,000 test images of 100 classes (the fine labels)."""
    folder = _folder(place, "cifar-100-binary", "train.bin")
    names = folder / "fine_label_names.txt"
    return _read("cifar100", [folder / "train.bin"], folder / "test.bin", names, label_bytes=2)


def _folder(place: Path, usual: str, first: str) -> Path:
    for folder in (place, place / usual):
        if (folder / first).is_file():
            return folder
    raise ArtefactError(
        f"{place}: neither {first} nor {usual}/{first} is there",
        f"Give the folder that the official binary archive unpacks to, {usual}, or the one above it.",
    )


def _read(name: str, training: Sequence[Path], test: Path, names: Path, label_bytes: int) -> Source:
    parts = [_records(path, label_bytes) for path in (*training, test)]
    records = np.concatenate(parts)
    return Source(
        name=name,
        # A copy, because the records would be kept alive by a view, and labels stand between the images.
        images=np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32),
        labels=records[:, label_bytes - 1].astype(np.int64),
        classes=_classes(names),
        mirror=True,
        official_test=len(parts[-1]),
    )


def _records(path: Path, label_bytes: int) -> np.ndarray:
    """uint8 (n, label bytes + 3072) of one file."""
    size = label_bytes + _PIXELS
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) == 0 or len(data) % size:
        raise ArtefactError(
            f"{path}: {len(data)} bytes are no whole number of records of {size} bytes", "Copy or unpack it again."
        )
    return data.reshape(-1, size)


def _classes(names: Path) -> tuple[str, ...]:
    try:
        lines = names.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        raise ArtefactError(f"{names}: the file with the names of the classes cannot be read") from None
    return tuple(lines)
