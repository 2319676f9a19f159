"""SVHN (Netzer et al., 2011), the cropped digits of 32×32 pixels: `train_32x32.mat` and `test_32x32.mat`."""

from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.sources import Source
from eetool.errors import ArtefactError

_CLASSES = tuple(str(digit) for digit in range(10))
_ZERO = 10  # the label of the digit 0 in these files
_HINT = "Give the folder of train_32x32.mat and test_32x32.mat."


def read_svhn(place: Path) -> Source:
    """73,257 training and 26,032 test images of house numbers, never mirrored."""
    parts = [_file(place / f"{name}_32x32.mat") for name in ("train", "test")]
    images, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return Source("svhn", images, labels, _CLASSES, mirror=False, official_test=len(parts[1][1]))


def _file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    stored = _load(path)
    images, labels = stored.get("X"), stored.get("y")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3):
        raise ArtefactError(f"{path}: X is not uint8 (32, 32, 3, n)", _HINT)
    if images.ndim != 4 or not isinstance(labels, np.ndarray) or labels.size != images.shape[3]:
        raise ArtefactError(f"{path}: y does not hold one label per image", _HINT)
    numbers = labels.ravel().astype(np.int64)
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), np.where(numbers == _ZERO, 0, numbers)  # (N, C, H, W)


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        with path.open("rb") as file:
            stored: dict[str, Any] = loadmat(file, variable_names=("X", "y"))
            return stored
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror or error}", _HINT) from None
    except Exception as error:  # scipy raises whatever a damaged file, or one of version 7.3, brings to light
        raise ArtefactError(f"{path}: not a readable .mat file of version 5: {error}", _HINT) from None
