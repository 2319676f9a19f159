"""SVHN (Netzer et al., 2011), the cropped digits of 32×32 pixels: `train_32x32.mat` and `test_32x32.mat`."""

import os
from pathlib import Path

import numpy as np

from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.matlab import read_mat
from eetool.data.source import Source, integer_labels
from eetool.errors import ArtefactError
from eetool.records import open_regular

_CLASSES = tuple(str(digit) for digit in range(10))
_ZERO = 10  # the label of the digit 0 in these files
_MAX_BYTES = 1 << 29  # three times the larger official file
_HINT = "Give the folder of train_32x32.mat and test_32x32.mat."


def read_svhn(folder: Path) -> Source:
    """Read 73,257 training and 26,032 test images of house numbers, which are never mirrored."""
    parts = [_read_part(folder / f"{name}_32x32.mat") for name in ("train", "test")]
    images, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return Source("svhn", images, labels, _CLASSES, mirror=False, official_test=len(parts[1][1]))


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 (n, 3, 32, 32) and labels int64 (n,) of one file."""
    stored = _load(path)
    images, labels = stored.get("X"), stored.get("y")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
        raise ArtefactError(f"{path}: X is not uint8 (32, 32, 3, n)", _HINT)
    if images.ndim != 4 or not isinstance(labels, np.ndarray) or labels.size != images.shape[3]:
        raise ArtefactError(f"{path}: y does not hold one label per image", _HINT)
    if labels.dtype.kind == "f" and np.isin(labels, range(_ZERO + 1)).all():  # MATLAB stores most numbers as floats
        labels = labels.astype(np.int64)
    numbers = integer_labels(f"{path}: its labels", labels.ravel())
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), np.where(numbers == _ZERO, 0, numbers)  # (N, C, H, W)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > _MAX_BYTES:
                raise ArtefactError(f"{path}: {size_bytes} bytes; no file of SVHN has more than {_MAX_BYTES}", _HINT)
            data = file.read()
        return read_mat(data, ("X", "y"))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", _HINT) from None
    except ValueError as error:
        raise ArtefactError(f"{path}: not a readable .mat file of version 5: {error_reason(error)}", _HINT) from None
