"""`npz:FILE`: images or features of the user's own, as arrays of numpy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.numpy_arrays import read_npz_members
from eetool.data.source import Source, integer_labels, number_classes
from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.records import open_regular

_HINT = (
    "An archive of numpy.savez is needed: images uint8 (N, C, H, W), or features of floats (N, D), (N, T, D) or "
    "(N, C, H, W); labels (N,) of integers; and if there are any test_images or test_features, test_labels and classes "
    "(names)."
)
_IMAGES, _FEATURES = "images", "features"
_CLASSES = "classes"
_WANTED = {f"{prefix}{name}" for prefix in ("", "test_") for name in (_IMAGES, _FEATURES, "labels")} | {_CLASSES}
_SHOWN = 8


@dataclass(frozen=True)
class _Archive:
    """An archive: the names of all that is in it, and the arrays that mean something."""

    place: Path
    names: list[str]
    arrays: dict[str, np.ndarray]

    def array(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            found = ", ".join(quote(known) for known in sorted(self.names)[:_SHOWN])
            more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
            raise ArtefactError(f"{self.place}: the array {name!r} is missing; found {found}{more}", _HINT)
        return self.arrays[name]


def read_npz(place: Path) -> Source:
    """Images or features with labels, and an official test set where there are `test_images` or `test_features`.

    Images are never mirrored: whether that keeps a label, only their owner knows.
    """
    archive = _read(place)
    kind = _FEATURES if _FEATURES in archive.arrays else _IMAGES
    examples, labels = _pair(archive, kind, "")
    test, learned = 0, labels
    if f"test_{kind}" in archive.arrays:
        more, test_labels = _pair(archive, kind, "test_")
        if more.shape[1:] != examples.shape[1:]:
            raise ArtefactError(f"{place}: test_{kind} are {more.shape[1:]}, {kind} {examples.shape[1:]}", _HINT)
        test = len(more)
        examples, labels = np.concatenate([examples, more]), np.concatenate([labels, test_labels])
    names = _names(archive) if _CLASSES in archive.arrays else number_classes(f"{place}: labels", learned)
    return Source(f"npz:{place.name}", examples, labels, names, mirror=False, official_test=test)


def _read(place: Path) -> _Archive:
    try:
        with open_regular(place) as file:
            return _Archive(place, *read_npz_members(file, _WANTED))
    except OSError as error:
        raise ArtefactError(f"{place}: cannot be read: {error_reason(error)}", _HINT) from None
    except Exception as error:  # numpy and zipfile raise whatever a damaged file brings to light
        raise ArtefactError(f"{place}: not a readable .npz file: {error_reason(error)}", _HINT) from None


def _names(archive: _Archive) -> tuple[str, ...]:
    """Names of the classes; whole numbers are names, too."""
    names = archive.arrays[_CLASSES]
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise ArtefactError(f"{archive.place}: classes are {names.dtype} {names.shape}, not texts (classes,)", _HINT)
    if len(names) > len(archive.array("labels")):
        raise ArtefactError(
            f"{archive.place}: {len(names)} classes and {len(archive.array('labels'))} labels",
            "Every class needs an example: leave the others out of the classes.",
        )
    try:
        return tuple(map(str, names))
    except (ValueError, SystemError):  # numbers beyond the last character
        raise ArtefactError(f"{archive.place}: a name in classes is no text of Unicode", _HINT) from None


def _pair(archive: _Archive, kind: str, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    place, examples, labels = archive.place, archive.array(f"{prefix}{kind}"), archive.array(f"{prefix}labels")
    if kind == _IMAGES and (examples.dtype != np.uint8 or examples.ndim != 4):
        raise ArtefactError(
            f"{place}: {prefix}images are {examples.dtype} {examples.shape}, not uint8 (N, C, H, W)", _HINT
        )
    if kind == _FEATURES:
        examples = _features(place, f"{prefix}features", examples)
    return examples, integer_labels(f"{place}: {prefix}labels", labels)


def _features(place: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating) or array.ndim not in (2, 3, 4):
        form = "floats (N, D), (N, T, D) or (N, C, H, W)"
        raise ArtefactError(f"{place}: {name} are {array.dtype} {array.shape}, not {form}", _HINT)
    features: np.ndarray = array.astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(features).all(tuple(range(1, features.ndim))))
    if len(odd):
        raise ArtefactError(f"{place}: {name} of example {odd[0]} are not finite", f"{len(odd)} examples are not.")
    return features
