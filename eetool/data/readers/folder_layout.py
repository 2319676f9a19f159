"""Layout of a folder of images: its sets, classes and images, and notes on what is skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

from eetool.data.class_names import composed
from eetool.data.file_notes import FileNotes
from eetool.data.readers.error_reason import error_reason
from eetool.data.readers.image_files import SUFFIXES
from eetool.errors import ArtefactError
from eetool.names import quote

TRAIN, VALIDATION, TEST = "train", "val", "test"
LAYOUT_HINT = (
    "DIR/CLASS/image.png, or DIR/train/CLASS/image.png beside DIR/test/CLASS/image.png and DIR/val/CLASS/image.png."
)
_NAMES = {
    TRAIN: ("train", "training"),
    VALIDATION: ("val", "valid", "validation", "dev"),
    TEST: ("test", "testing"),
}
_ALL_NAMES = {name for names in _NAMES.values() for name in names}
# Folders that systems and programs make, besides those whose names begin with a dot.
_OF_SYSTEMS = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
# Images that Pillow, or this build of it, cannot read, or that the closed list of formats leaves out.
_OTHER_IMAGES = {
    *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".tga", ".ico", ".svg", ".psd", ".pcx", ".eps"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".exr", ".hdr", ".dcm", ".nii", ".npy"),
}


def find_sets(folder: Path, notes: FileNotes) -> dict[str, Path]:
    """Return the folders of the training, validation and test set, or `folder` as the training set alone.

    A folder called `train`, `val` or `test`, in usual spellings, is a set where it holds folders. One alone may also be
    the folder of a class: it is a set where it holds no images itself.

    Raises:
        ArtefactError: the folder cannot be read, a set is there twice, or it cannot be told what is a set.
    """
    folders = list(_folders(folder, notes))
    sets: dict[str, Path] = {}
    for role, names in _NAMES.items():
        found = [place for place in folders if place.name.lower() in names and _has_folders(place)]
        if len(found) > 1:
            both = " and ".join(quote(place.name) for place in found)
            raise ArtefactError(f"{folder}: {both} are both the {role} set", "Join them, or move one elsewhere.")
        if found:
            sets[role] = found[0]
    if not sets or (len(sets) == 1 and _has_images(*sets.values())):
        return {TRAIN: folder}
    others = [place for place in folders if place not in sets.values()]
    if TRAIN not in sets or (len(sets) == 1 and any(place.name.lower() not in _ALL_NAMES for place in others)):
        shown = ", ".join(quote(place.name) for place in folders[:8])
        raise ArtefactError(f"{folder}: sets and classes cannot be told apart among {shown}", LAYOUT_HINT)
    for place in others:
        notes.add("warning: skipped, beside the sets and no set with classes itself", place)
    return sets


def is_set(folder: Path) -> bool:
    """Return whether a folder is called as a set of its own is, such as `train`."""
    return folder.name.lower() in _ALL_NAMES


def find_classes(folder: Path, notes: FileNotes) -> dict[str, Path]:
    """Return the folders of the classes in a set by the name of the class, in the order of these names.

    Raises:
        ArtefactError: the folder cannot be read, or two names are the same text in two forms of Unicode.
    """
    classes: dict[str, Path] = {}
    for place in _folders(folder, notes):
        name = composed(place.name)
        if name in classes:
            raise ArtefactError(
                f"{folder}: two folders of one class, {quote(name)}: the same text in two forms of Unicode",
                "Join them, or rename one.",
            )
        classes[name] = place
    for file in _entries(folder):
        if file.suffix.lower() in SUFFIXES | _OTHER_IMAGES and not is_hidden(file) and not _is_folder(file):
            notes.add("warning: skipped, an image beside the folders of classes", file)
    return dict(sorted(classes.items()))


def find_images(folder: Path, notes: FileNotes) -> list[Path]:
    """Return the images of one class in the order of their names, and note every other file."""
    images = []
    for entry in _entries(folder):
        suffix = entry.suffix.lower()
        if is_hidden(entry):
            notes.add("skipped, hidden", entry)
        elif _is_folder(entry):
            for nested in _files_below(entry):
                notes.add("warning: skipped, in a folder inside that of a class", nested)
        elif suffix in SUFFIXES:
            images.append(entry)
        elif suffix in _OTHER_IMAGES:
            notes.add(f"warning: skipped, {suffix}, which is not read here: convert it to PNG or JPEG", entry)
        else:
            notes.add(f"skipped, {quote(suffix) if suffix else 'without a suffix'}, no image", entry)
    return images


def is_hidden(entry: Path) -> bool:
    """Return whether a file or folder is hidden, or made by an operating system or a program for itself."""
    return entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS


def _folders(folder: Path, notes: FileNotes) -> Iterator[Path]:
    for entry in _entries(folder):
        if _is_folder(entry):
            if is_hidden(entry):
                notes.add("skipped, hidden", entry)
            else:
                yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be read: {error_reason(error)}", LAYOUT_HINT) from None


def _is_folder(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a folder whose entries may be listed and not opened; opening one gives a clear error
        return False


def _has_folders(folder: Path) -> bool:
    return any(_is_folder(entry) and not is_hidden(entry) for entry in _entries(folder))


def _has_images(folder: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES and not is_hidden(entry) for entry in _entries(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without following links to folders."""
    for place, _, files in os.walk(folder):
        yield from (Path(place) / name for name in sorted(files))
