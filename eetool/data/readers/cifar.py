"""CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009) in their official binary or Python layout.

A record of the binary layout is one label byte (CIFAR-100: coarse label, fine label) and 3,072 bytes of pixels: the
planes R, G, B of 32×32.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from eetool.data.readers.cifar_pickle import read_bytes, read_cifar_pickle
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.records import open_regular

_PIXELS = 3 * 32 * 32
_MAX_LABEL = 255  # of the binary layout, whose labels are bytes
_MAX_NAMES_BYTES = 1 << 20


def read_cifar10(place: Path) -> Source:
    """Read 50,000 training and up to 10,000 test images of 10 classes.

    Args:
        place: the folder of the files, or the folder above it.
    """
    pickled = _folder(place, "cifar-10-batches-py", "data_batch_1")
    if pickled is not None:
        files = [pickled / f"data_batch_{i}" for i in range(1, 6)]
        return _read_pickled("cifar10", files, pickled / "test_batch", pickled / "batches.meta", "")
    folder = _folder(place, "cifar-10-batches-bin", "data_batch_1.bin") or _missing(place, "cifar-10-batches-bin")
    files = [folder / f"data_batch_{i}.bin" for i in range(1, 6)]
    return _read_binary("cifar10", files, folder / "test_batch.bin", folder / "batches.meta.txt", label_bytes=1)


def read_cifar100(place: Path) -> Source:
    """Read 50,000 training and 10,000 test images of 100 classes (the fine labels).

    Args:
        place: the folder of the files, or the folder above it.
    """
    pickled = _folder(place, "cifar-100-python", "train")
    if pickled is not None:
        return _read_pickled("cifar100", [pickled / "train"], pickled / "test", pickled / "meta", "fine_")
    folder = _folder(place, "cifar-100-binary", "train.bin") or _missing(place, "cifar-100-binary")
    names = folder / "fine_label_names.txt"
    return _read_binary("cifar100", [folder / "train.bin"], folder / "test.bin", names, label_bytes=2)


def _folder(place: Path, usual: str, first: str) -> Path | None:
    return next((folder for folder in (place, place / usual) if (folder / first).is_file()), None)


def _missing(place: Path, usual: str) -> NoReturn:
    raise ArtefactError(
        f"{place}: neither the files of {usual} nor that folder are there",
        f"Give the folder that an official archive unpacks to, such as {usual}, or the one above it.",
    )


def _read_pickled(name: str, training: Sequence[Path], test: Path, names: Path, kind: str) -> Source:
    parts = [_batch(path, f"{kind}labels") for path in (*training, test)]
    classes = read_cifar_pickle(names).get(f"{kind}label_names")
    if not isinstance(classes, list) or not all(isinstance(name, (str, bytes)) for name in classes):
        raise ArtefactError(f"{names}: the names of the classes are missing", "Unpack the archive again.")
    return Source(
        name=name,
        inputs=np.concatenate([images for images, _ in parts]),
        labels=np.concatenate([labels for _, labels in parts]),
        classes=tuple(c.decode("latin-1") if isinstance(c, bytes) else c for c in classes),
        mirror=True,
        official_test=len(parts[-1][1]),
    )


def _batch(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 (n, 3, 32, 32) and labels int64 (n,) from one file of the Python layout."""
    stored = read_cifar_pickle(path)
    data, labels = stored.get("data"), stored.get(key)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS or not isinstance(labels, list):
        raise ArtefactError(f"{path}: 'data' (n, {_PIXELS}) or {key!r} is missing", "Unpack the archive again.")
    if len(labels) != len(data):
        raise ArtefactError(f"{path}: {len(labels)} labels for {len(data)} images", "Unpack the archive again.")
    if not all(isinstance(label, int) and 0 <= label <= _MAX_LABEL for label in labels):
        raise ArtefactError(f"{path}: its labels are no numbers from 0 to {_MAX_LABEL}", "Unpack the archive again.")
    return data.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def _read_binary(name: str, training: Sequence[Path], test: Path, names: Path, label_bytes: int) -> Source:
    parts = [_records(path, label_bytes) for path in (*training, test)]
    records = np.concatenate(parts)
    return Source(
        name=name,
        # A copy, because a view would keep the records with their labels in memory.
        inputs=np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32),
        labels=records[:, label_bytes - 1].astype(np.int64),
        classes=_classes(names),
        mirror=True,
        official_test=len(parts[-1]),
    )


def _records(path: Path, label_bytes: int) -> np.ndarray:
    """Read the records of one file as uint8 (n, label bytes + 3072)."""
    size = label_bytes + _PIXELS
    data = np.frombuffer(read_bytes(path), np.uint8)
    if len(data) == 0 or len(data) % size:
        raise ArtefactError(
            f"{path}: {len(data)} bytes are no whole number of records of {size} bytes", "Copy or unpack it again."
        )
    return data.reshape(-1, size)


def _classes(names: Path) -> tuple[str, ...]:
    try:
        with open_regular(names) as file:
            lines = file.read(_MAX_NAMES_BYTES).decode("ascii").split()
    except (OSError, UnicodeDecodeError):
        raise ArtefactError(f"{names}: the file with the names of the classes cannot be read") from None
    return tuple(lines)
