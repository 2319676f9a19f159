"""Image files in one folder per class: `folder:DIR`."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from eetool.data.class_names import lookalikes
from eetool.data.file_notes import FileNotes
from eetool.data.image_form import ImageForm
from eetool.data.readers.folder_layout import (
    LAYOUT_HINT,
    TEST,
    TRAIN,
    VALIDATION,
    find_classes,
    find_images,
    find_sets,
    is_set,
)
from eetool.data.readers.image_cache import image_cache
from eetool.data.readers.image_decoding import common_size, decode_images
from eetool.data.source import Source
from eetool.errors import ArtefactError, OutputError
from eetool.free_memory import require_free
from eetool.names import quote
from eetool.progress import SILENT, Progress
from eetool.wording import counted

_CACHE_HINT = "Give EETOOL_CACHE a folder with room for decoded images, or ask for a smaller size."
_Labelled = list[tuple[Path, int]]


def read_image_folder(folder: Path, form: ImageForm | None = None, progress: Progress = SILENT) -> Source:
    """Read the images in DIR/CLASS/, or in DIR/train/CLASS/ with an official test set in DIR/test/CLASS/.

    DIR/val/CLASS/ is the official validation set, or the test set where there is no DIR/test. Whether mirrored
    images keep their label is not known.

    Args:
        folder: the folder.
        form: what all images are brought to. By default they must have one size, and are grey where all of them are,
            else RGB.
        progress: shows the decoding of many images.

    Raises:
        ArtefactError: a class is empty or strange, an image cannot be read, or the sizes differ and there is no form.
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
    inputs, lines = read_images([path for path, _ in ordered], folder, form, notes, progress)
    return Source(
        f"folder:{folder.resolve().name}",
        inputs,
        np.array([label for _, label in ordered], np.int64),
        classes,
        mirror=None,
        official_test=len(files.get(TEST, [])),
        official_validation=len(files.get(VALIDATION, [])),
        notes=(*notices, *lookalikes(classes), *notes.lines(), *lines),
        resize=form.rule if form is not None else None,
        files=tuple(path for path, _ in ordered),
    )


def folder_classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes in a folder, without reading images; raises as `read_image_folder`."""
    notes = FileNotes()
    return tuple(find_classes(find_sets(folder, notes)[TRAIN], notes))


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
        raise ArtefactError(f"{folder}: no images were found", _no_classes_hint(folder) + LAYOUT_HINT + skipped)
    present = {label for _, label in files}
    empty = [place for number, place in enumerate(classes.values()) if number not in present]
    if empty:
        more = f" (nor of {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise ArtefactError(
            f"{empty[0]}: no training example is of class {quote(empty[0].name)}{more}",
            "A class without examples cannot be learned: leave its folder out." + skipped,
        )


def _no_classes_hint(folder: Path) -> str:
    """Return what to give in place of a folder that holds images itself: the folder of its class and the others."""
    if not find_images(folder, FileNotes()):
        return ""
    outer = folder.resolve().parent
    whole = outer.parent if is_set(outer) else outer
    shown = os.path.relpath(whole) if not folder.is_absolute() else str(whole)
    return f"It is the folder of one class: give folder:{shown}. "


def read_images(
    paths: list[Path], folder: Path, form: ImageForm | None, notes: FileNotes, progress: Progress
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read images as uint8 (N, C, H, W), from the cache where they are in it; also return what it has to say."""
    cache = image_cache(folder, paths, form)
    if cache is not None and (cached := cache.read()):
        return cached.pixels, cached.notes
    if cache is not None and form is not None and form.channels is not None:
        # Training took the channels from the files: the same pixels, where a model of theirs asks for them.
        any_channels = image_cache(folder, paths, replace(form, channels=None))
        cached = any_channels.read() if any_channels is not None else None
        if cached is not None and cached.pixels.shape[1] == form.channels:
            return cached.pixels, cached.notes
    resizes = form is not None
    if form is None:
        form = ImageForm(*common_size(paths, folder))
    any_mode = form.channels is None
    shape = (form.channels or 3, form.height, form.width)
    decode = partial(decode_images, paths, form, resizes)
    if cache is not None:
        own = FileNotes()
        try:
            cache.write(shape, lambda write: (decode(own, folder, progress, write) and any_mode, own.lines()))
        except OutputError as error:
            progress.note(f"warning: images are decoded again by each command: {error.message}")
        if cached := cache.read():
            return cached.pixels, cached.notes
    require_free(len(paths) * math.prod(shape), f"{folder}: {counted(len(paths), 'image')}", _CACHE_HINT)
    images = np.empty((len(paths), *shape), np.uint8)
    places = iter(images)
    all_grey = decode(notes, folder, progress, lambda pixels: np.copyto(next(places), pixels))
    return (images[:, :1] if all_grey and any_mode else images), ()
