"""`npz:FILE`: images of the user's own, as arrays of numpy."""

from pathlib import Path

import numpy as np

from eetool.data.sources import Source
from eetool.errors import ArtefactError

_HINT = (
    "An archive of numpy.savez is needed: images uint8 (N, C, H, W), labels (N,) of integers, and if there are any "
    "test_images, test_labels and classes (names)."
)


def read_archive(place: Path) -> Source:
    """Images and labels of an .npz, with an official test set where there are `test_images`.

    Images are never mirrored: whether that keeps a label, only their owner knows.
    """
    arrays = _arrays(place)
    images, labels = _pair(place, arrays, "")
    test = 0
    if "test_images" in arrays:
        test_images, test_labels = _pair(place, arrays, "test_")
        if test_images.shape[1:] != images.shape[1:]:
            raise ArtefactError(f"{place}: test_images are {test_images.shape[1:]}, images {images.shape[1:]}", _HINT)
        test = len(test_images)
        images, labels = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
    classes = arrays.get("classes")
    names = tuple(map(str, classes if classes is not None else range(int(labels.max(initial=0)) + 1)))
    return Source(f"npz:{place.name}", images, labels, names, mirror=False, official_test=test)


def _arrays(place: Path) -> dict[str, np.ndarray]:
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise ArtefactError(f"{place}: cannot be read: {error.strerror or error}", _HINT) from None
    except Exception as error:  # numpy and zipfile raise whatever a damaged file brings to light
        raise ArtefactError(f"{place}: not a readable .npz file: {error}", _HINT) from None


def _pair(place: Path, arrays: dict[str, np.ndarray], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    for name in (f"{prefix}images", f"{prefix}labels"):
        if name not in arrays:
            raise ArtefactError(f"{place}: the array {name!r} is missing; found {', '.join(sorted(arrays))}", _HINT)
    images, labels = arrays[f"{prefix}images"], arrays[f"{prefix}labels"]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ArtefactError(f"{place}: {prefix}images are {images.dtype} {images.shape}, not uint8 (N, C, H, W)", _HINT)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ArtefactError(f"{place}: {prefix}labels are {labels.dtype} {labels.shape}, not integers (N,)", _HINT)
    return images, labels.astype(np.int64)
