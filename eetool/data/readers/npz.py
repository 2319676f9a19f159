"""The user's own images or features as NumPy arrays: `npz:FILE`."""

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
    """An archive: the names of all its arrays, and those that this format uses."""

    path: Path
    names: list[str]
    arrays: dict[str, np.ndarray]

    def array(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            shown = ", ".join(quote(known) for known in sorted(self.names)[:_SHOWN])
            more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
            raise ArtefactError(f"{self.path}: the array {name!r} is missing; found {shown}{more}", _HINT)
        return self.arrays[name]


def read_npz(path: Path) -> Source:
    """Read images or features with labels, and an official test set from `test_images` or `test_features`.

    Images are never mirrored, because that may change their label.
    """
    archive = _read(path)
    kind = _FEATURES if _FEATURES in archive.arrays else _IMAGES
    examples, labels = _examples(archive, kind, "")
    n_test, training_labels = 0, labels
    if f"test_{kind}" in archive.arrays:
        test_examples, test_labels = _examples(archive, kind, "test_")
        if test_examples.shape[1:] != examples.shape[1:]:
            shapes = f"test_{kind} are {test_examples.shape[1:]}, {kind} {examples.shape[1:]}"
            raise ArtefactError(f"{path}: {shapes}", _HINT)
        n_test = len(test_examples)
        examples, labels = np.concatenate([examples, test_examples]), np.concatenate([labels, test_labels])
    names = _names(archive) if _CLASSES in archive.arrays else number_classes(f"{path}: labels", training_labels)
    return Source(f"npz:{path.name}", examples, labels, names, mirror=False, official_test=n_test)


def _read(path: Path) -> _Archive:
    try:
        with open_regular(path) as file:
            return _Archive(path, *read_npz_members(file, _WANTED))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", _HINT) from None
    except Exception as error:  # numpy and zipfile raise many unrelated types for a damaged file
        raise ArtefactError(f"{path}: not a readable .npz file: {error_reason(error)}", _HINT) from None


def _names(archive: _Archive) -> tuple[str, ...]:
    """Return the names of the classes; integers are converted to text."""
    names = archive.arrays[_CLASSES]
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise ArtefactError(f"{archive.path}: classes are {names.dtype} {names.shape}, not texts (classes,)", _HINT)
    if len(names) > len(archive.array("labels")):
        raise ArtefactError(
            f"{archive.path}: {len(names)} classes and {len(archive.array('labels'))} labels",
            "Every class needs an example: leave the others out of the classes.",
        )
    try:
        return tuple(map(str, names))
    except (ValueError, SystemError):  # code points beyond the last character
        raise ArtefactError(f"{archive.path}: a name in classes is no text of Unicode", _HINT) from None


def _examples(archive: _Archive, kind: str, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images or features, and labels int64 (n,)."""
    path, examples, labels = archive.path, archive.array(f"{prefix}{kind}"), archive.array(f"{prefix}labels")
    if kind == _IMAGES and (examples.dtype != np.uint8 or examples.ndim != 4):
        raise ArtefactError(
            f"{path}: {prefix}images are {examples.dtype} {examples.shape}, not uint8 (N, C, H, W)", _HINT
        )
    if kind == _FEATURES:
        examples = _features(path, f"{prefix}features", examples)
    return examples, integer_labels(f"{path}: {prefix}labels", labels)


def _features(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating) or array.ndim not in (2, 3, 4):
        form = "floats (N, D), (N, T, D) or (N, C, H, W)"
        raise ArtefactError(f"{path}: {name} are {array.dtype} {array.shape}, not {form}", _HINT)
    features: np.ndarray = array.astype(np.float32)
    odd = np.flatnonzero(~np.isfinite(features).all(tuple(range(1, features.ndim))))
    if len(odd):
        raise ArtefactError(f"{path}: {name} of example {odd[0]} are not finite", f"{len(odd)} examples are not.")
    return features
