"""The user's own images or features as NumPy arrays: `npz:FILE`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eetool.data.class_names import composed, first_twice, lookalikes
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.feature_arrays import finished_features
from eetool.data.readers.numpy_arrays import read_npz_members
from eetool.data.readers.pixel_arrays import check_pixels, flat_images, odd_channels
from eetool.data.sequences import Sequences, check_sets, join_orders, number_sequences
from eetool.data.source import Source, integer_labels, number_classes
from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.records import open_regular

_HINT = (
    "An archive of numpy.savez is needed: images uint8 (N, C, H, W), or features of floats (N, D), (N, T, D) or "
    "(N, C, H, W); labels (N,) of integers; and if there are any test_images or test_features, test_labels, the same "
    "with val_, and classes (names). Of examples in the order of time also sequence and group (N,), and period_s or "
    "time_s (N,)."
)
_CLASSES_HINT = 'One name for each class is needed, np.array(["cat", "dog"]); without `classes` they are numbered.'
_IMAGES, _FEATURES, _LABELS = "images", "features", "labels"
_CLASSES = "classes"
_VALIDATION, _TEST = "val_", "test_"
_SEQUENCE, _GROUP, _TIME, _PERIOD = "sequence", "group", "time_s", "period_s"
_OF_EXAMPLES = (_IMAGES, _FEATURES, _LABELS, _SEQUENCE, _GROUP, _TIME)
_WANTED = {f"{prefix}{name}" for prefix in ("", _VALIDATION, _TEST) for name in _OF_EXAMPLES} | {_CLASSES, _PERIOD}
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

    `val_images` or `val_features` are the official validation set, or the test set where there is no other. Whether
    mirrored images keep their label is not known.
    """
    archive = _read(path)
    kind = _FEATURES if _FEATURES in archive.arrays else _IMAGES
    present = [prefix for prefix in (_VALIDATION, _TEST) if f"{prefix}{kind}" in archive.arrays]
    parts = {prefix: _examples(archive, kind, prefix) for prefix in ("", *present)}
    examples, labels = parts[""]
    for prefix in present:
        if parts[prefix][0].shape[1:] != examples.shape[1:]:
            shapes = f"{prefix}{kind} are {parts[prefix][0].shape[1:]}, {kind} {examples.shape[1:]}"
            raise ArtefactError(f"{path}: {shapes}", _HINT)
    names = _names(archive) if _CLASSES in archive.arrays else number_classes(f"{path}: labels", labels)
    inputs, together = (np.concatenate([part[i] for part in parts.values()]) for i in (0, 1))
    sizes = {prefix: len(part[1]) for prefix, part in parts.items()}
    order, pauses = _order(archive, sizes)
    notes = (*_notes(archive, kind, present, inputs), *pauses)
    if present == [_VALIDATION]:
        sizes[_TEST] = sizes.pop(_VALIDATION)
    return Source(
        f"npz:{path.name}",
        inputs,
        together,
        names,
        mirror=None,
        official_test=sizes.get(_TEST, 0),
        official_validation=sizes.get(_VALIDATION, 0),
        notes=(*notes, *lookalikes(names)),
        order=order,
    )


def _order(archive: _Archive, sizes: dict[str, int]) -> tuple[Sequences | None, tuple[str, ...]]:
    """Return sequences and groups of all examples, where the archive has them, and notes.

    Args:
        archive: the archive.
        sizes: number of examples by prefix of the set.
    """
    path, arrays = archive.path, archive.arrays
    names = [name for name in (_SEQUENCE, _GROUP, _TIME) if any(f"{prefix}{name}" in arrays for prefix in sizes)]
    if not names:
        return None, ()
    for prefix, count in sizes.items():
        for name in dict.fromkeys((_SEQUENCE, _GROUP, *names)):
            if len(np.atleast_1d(archive.array(f"{prefix}{name}"))) != count:
                found = f"{prefix}{name} is {arrays[prefix + name].shape}"
                raise ArtefactError(f"{path}: {found}, for {count} examples", "Store one for each example.")
    sequence, group = join_orders(str(path), [(arrays[f"{p}{_SEQUENCE}"], arrays[f"{p}{_GROUP}"]) for p in sizes])
    times = np.concatenate([arrays[f"{p}{_TIME}"] for p in sizes]) if _TIME in names else None
    order, notes = number_sequences(str(path), sequence, group, _period(archive), times)
    check_sets(str(path), order, list(sizes.values()))
    return order, notes


def _period(archive: _Archive) -> float | None:
    stored = archive.arrays.get(_PERIOD)
    if stored is None:
        return None
    if stored.size != 1 or stored.dtype.kind not in "iuf" or not 0 < float(stored.ravel()[0]) < np.inf:
        raise ArtefactError(f"{archive.path}: period_s is {quote(str(stored))}", "Store one number of seconds above 0.")
    return float(stored.ravel()[0])


def _notes(archive: _Archive, kind: str, present: list[str], inputs: np.ndarray) -> Iterator[str]:
    """Yield what the user should know about the arrays."""
    if present == [_VALIDATION]:
        yield f"{_VALIDATION}{kind} are the test set, because there are no {_TEST}{kind}"
    names = (kind, *_OF_EXAMPLES[2:])
    used = {f"{prefix}{name}" for prefix in ("", *present) for name in names} | {_CLASSES, _PERIOD}
    unused = sorted(set(archive.names) - used)
    if unused:
        yield f"not used: the arrays {', '.join(map(quote, unused[:_SHOWN]))}{', …' if len(unused) > _SHOWN else ''}"
    if kind == _IMAGES:
        yield from filter(None, (odd_channels(inputs), flat_images(inputs)))


def _read(path: Path) -> _Archive:
    try:
        with open_regular(path) as file:
            return _Archive(path, *read_npz_members(file, _WANTED))
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}", _HINT) from None
    except Exception as error:  # numpy and zipfile raise many unrelated types for a damaged file
        raise ArtefactError(f"{path}: not a readable .npz file: {error_reason(error)}", _HINT) from None


def _names(archive: _Archive) -> tuple[str, ...]:
    """Return the names of the classes; integers are converted to text, bytes are UTF-8."""
    stored = archive.arrays[_CLASSES]
    if stored.ndim == 0 and stored.dtype.kind in "USiuf":
        raise ArtefactError(f"{archive.path}: classes are one value, {quote(str(stored))}, not a list", _CLASSES_HINT)
    if stored.size == 0:
        raise ArtefactError(f"{archive.path}: classes are empty", _CLASSES_HINT)
    if stored.ndim != 1 or stored.dtype.kind not in "USiu":
        reason = f"{archive.path}: classes are {stored.dtype} {stored.shape}, not texts (classes,)"
        raise ArtefactError(reason, _CLASSES_HINT)
    if len(stored) > len(archive.array(_LABELS)):
        raise ArtefactError(
            f"{archive.path}: {len(stored)} classes and {len(archive.array(_LABELS))} labels",
            "Every class needs an example: leave the others out of the classes.",
        )
    try:
        names = tuple(composed(n.decode("utf-8") if isinstance(n, bytes) else str(n)) for n in stored)
    except (ValueError, SystemError):  # code points beyond the last character, or bytes that are no UTF-8
        raise ArtefactError(f"{archive.path}: a name in classes is no text of Unicode", _HINT) from None
    twice = first_twice(names)
    if twice is not None:
        numbers = [number for number, name in enumerate(names) if name == twice]
        raise ArtefactError(
            f"{archive.path}: the classes {numbers[0]} and {numbers[1]} have one name, {quote(twice)}",
            "Every class needs a name of its own, in the order of the labels; it is no list of labels.",
        )
    return names


def _examples(archive: _Archive, kind: str, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images or features, and labels int64 (n,)."""
    path, examples, labels = archive.path, archive.array(f"{prefix}{kind}"), archive.array(f"{prefix}{_LABELS}")
    if kind == _IMAGES:
        check_pixels(f"{path}: {prefix}images", examples)
    else:
        examples = finished_features(f"{path}: {prefix}features", examples)
    return examples, integer_labels(f"{path}: {prefix}labels", labels)
