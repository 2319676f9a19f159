"""`npz:FILE`: images or features of the user's own, as arrays of numpy."""

from pathlib import Path

import numpy as np

from eetool.data.sources import Source
from eetool.errors import ArtefactError

_HINT = (
    "An archive of numpy.savez is needed: images uint8 (N, C, H, W), or features of floats (N, D), (N, T, D) or "
    "(N, C, H, W); labels (N,) of integers; and if there are any test_images or test_features, test_labels and classes "
    "(names)."
)
_IMAGES, _FEATURES = "images", "features"


def read_archive(place: Path) -> Source:
    """Images or features with labels, and an official test set where there are `test_images` or `test_features`.

    Images are never mirrored: whether that keeps a label, only their owner knows.
    """
    arrays = _arrays(place)
    kind = _FEATURES if _FEATURES in arrays else _IMAGES
    examples, labels = _pair(place, arrays, kind, "")
    test = 0
    if f"test_{kind}" in arrays:
        more, test_labels = _pair(place, arrays, kind, "test_")
        if more.shape[1:] != examples.shape[1:]:
            raise ArtefactError(f"{place}: test_{kind} are {more.shape[1:]}, {kind} {examples.shape[1:]}", _HINT)
        test = len(more)
        examples, labels = np.concatenate([examples, more]), np.concatenate([labels, test_labels])
    classes = arrays.get("classes")
    names = tuple(map(str, classes if classes is not None else range(int(labels.max(initial=0)) + 1)))
    return Source(f"npz:{place.name}", examples, labels, names, mirror=False, official_test=test)


def _arrays(place: Path) -> dict[str, np.ndarray]:
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise ArtefactError(f"{place}: cannot be read: {error.strerror or error}", _HINT) from None
    except Exception as error:  # numpy and zipfile raise whatever a damaged file brings to light
        raise ArtefactError(f"{place}: not a readable .npz file: {error}", _HINT) from None


def _pair(place: Path, arrays: dict[str, np.ndarray], kind: str, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    for name in (f"{prefix}{kind}", f"{prefix}labels"):
        if name not in arrays:
            raise ArtefactError(f"{place}: the array {name!r} is missing; found {', '.join(sorted(arrays))}", _HINT)
    examples, labels = arrays[f"{prefix}{kind}"], arrays[f"{prefix}labels"]
    if kind == _IMAGES and (examples.dtype != np.uint8 or examples.ndim != 4):
        raise ArtefactError(
            f"{place}: {prefix}images are {examples.dtype} {examples.shape}, not uint8 (N, C, H, W)", _HINT
        )
    if kind == _FEATURES:
        examples = _features(place, f"{prefix}features", examples)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ArtefactError(f"{place}: {prefix}labels are {labels.dtype} {labels.shape}, not integers (N,)", _HINT)
    return examples, labels.astype(np.int64)


def _features(place: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating) or array.ndim not in (2, 3, 4):
        form = "floats (N, D), (N, T, D) or (N, C, H, W)"
        raise ArtefactError(f"{place}: {name} are {array.dtype} {array.shape}, not {form}", _HINT)
    features: np.ndarray = array.astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(features).all(tuple(range(1, features.ndim))))
    if len(odd):
        raise ArtefactError(f"{place}: {name} of example {odd[0]} are not finite", f"{len(odd)} examples are not.")
    return features
