"""Inputs of `run` in a folder: its images, with their classes where the folders inside are called after them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eetool.data.file_notes import FileNotes
from eetool.data.readers.folder_layout import TEST, find_classes, find_images
from eetool.errors import ArtefactError


class InputFile(NamedTuple):
    """A file to classify; `expected` is the class that its folder names, or None."""

    path: Path
    expected: str | None = None


def find_inputs(path: Path, labels: Sequence[str], notes: FileNotes) -> list[InputFile]:
    """Return `path`, or the images in the folder `path` and in the folders inside it, by name.

    Args:
        path: file or folder.
        labels: classes of the model.
        notes: receives what is skipped, and folders that are no class.

    Raises:
        ArtefactError: the folder holds no images, or sets of them.
    """
    if not path.is_dir():
        return [InputFile(path)]
    unused = FileNotes()
    folders = find_classes(path, unused)
    files = [InputFile(file) for file in find_images(path, unused)]
    known = set(folders) & set(labels)
    for name, folder in folders.items():
        if known and name not in known:
            notes.add("warning: is no class of the model, so its images do not count for the accuracy", folder)
        files += [InputFile(file, name if name in known else None) for file in find_images(folder, notes)]
    if not files:
        raise ArtefactError(f"{path}: holds no images", _hint(path))
    return files


def _hint(path: Path) -> str:
    if (path / TEST).is_dir():
        return f"Give one of its sets: {path / TEST}."
    return "Give images, or a folder of them: DIR/image.png, or DIR/CLASS/image.png for the accuracy."
