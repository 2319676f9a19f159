"""Image files in one folder per class: `folder:DIR`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from eetool.data.class_names import lookalikes
from eetool.data.file_notes import FileNotes
from eetool.data.readers.folder_layout import (
    LAYOUT_HINT,
    TEST,
    TRAIN,
    VALIDATION,
    find_classes,
    find_images,
    find_sets,
)
from eetool.data.readers.image_files import read_image
from eetool.data.readers.pixel_conversion import check_range
from eetool.data.source import Source
from eetool.errors import ArtefactError
from eetool.names import quote

_Labelled = list[tuple[Path, int]]


def read_image_folder(folder: Path) -> Source:
    """Read images of equal size in DIR/CLASS/, or in DIR/train/CLASS/ with an official test set in DIR/test/CLASS/.

    DIR/val/CLASS/ is the official validation set, or the test set where there is no DIR/test. Images are grey where
    all of them are, else RGB. Whether mirrored images keep their label is not known.
    """
    notes = FileNotes()
    sets = find_sets(folder, notes)
    notices = []
    if VALIDATION in sets and TEST not in sets:
        notices.append(f"{sets[VALIDATION].name}/ is the test set, because there is no test/")
        sets[TEST] = sets.pop(VALIDATION)
    folders = {role: find_classes(place, notes) for role, place in sets.items()}
    classes = tuple(folders[TRAIN])
    for role, place in sets.items():
        _check_classes(place, folders[role], classes)
    files = {role: _labelled_images(own, classes, notes) for role, own in folders.items()}
    _check_training(sets[TRAIN], folders[TRAIN], files[TRAIN], notes)
    ordered = [item for role in (TRAIN, VALIDATION, TEST) for item in files.get(role, [])]
    inputs = _read([path for path, _ in ordered], folder, notes)
    return Source(
        f"folder:{folder.resolve().name}",
        inputs,
        np.array([label for _, label in ordered], np.int64),
        classes,
        mirror=None,
        official_test=len(files.get(TEST, [])),
        official_validation=len(files.get(VALIDATION, [])),
        notes=(*notices, *lookalikes(classes), *notes.lines()),
    )


def _check_classes(folder: Path, names: Iterable[str], classes: Sequence[str]) -> None:
    """Raise ArtefactError where a set has a class that is not one of the `classes` of the training set."""
    strange = next((name for name in names if name not in classes), None)
    if strange is not None:
        similar = next((known for known in classes if known.casefold() == strange.casefold()), None)
        but = f", which has {quote(similar)}" if similar else ""
        raise ArtefactError(
            f"{folder}: holds a class that is not in the training set{but}: {quote(strange)}", LAYOUT_HINT
        )


def _labelled_images(folders: Mapping[str, Path], classes: Sequence[str], notes: FileNotes) -> _Labelled:
    """Return the images of one set with their labels, class by class."""
    return [
        (path, label)
        for label, name in enumerate(classes)
        if name in folders
        for path in find_images(folders[name], notes)
    ]


def _check_training(folder: Path, classes: dict[str, Path], files: _Labelled, notes: FileNotes) -> None:
    """Raise ArtefactError where there are no images, or none of a class; the hint says what was skipped."""
    skipped = "".join(f" {line}." for line in notes.lines())
    if not files:
        raise ArtefactError(f"{folder}: no images were found", LAYOUT_HINT + skipped)
    present = {label for _, label in files}
    empty = [place for number, place in enumerate(classes.values()) if number not in present]
    if empty:
        more = f" (nor of {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise ArtefactError(
            f"{empty[0]}: no training example is of class {quote(empty[0].name)}{more}",
            "A class without examples cannot be learned: leave its folder out." + skipped,
        )


def _read(paths: list[Path], folder: Path, notes: FileNotes) -> np.ndarray:
    """Read images as uint8 (N, C, H, W)."""
    images = [read_image(path, notes) for path in paths]
    check_range(images, folder)
    first = images[0].image
    odd = next((i for i, (image, _) in enumerate(images) if image.size != first.size), None)
    if odd is not None:
        sizes = ["×".join(map(str, images[i].image.size)) for i in (odd, 0)]
        raise ArtefactError(
            f"{paths[odd]}: {sizes[0]} pixels, where {paths[0]} has {sizes[1]}", "Bring all to one size."
        )
    mode = "L" if all(image.mode == "L" for image, _ in images) else "RGB"
    arrays = np.stack([np.asarray(image.convert(mode)) for image, _ in images])
    return arrays[:, None] if mode == "L" else np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))  # -> (N, C, H, W)
