"""Image files in one folder per class: `folder:DIR`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eetool.data.readers.image_files import SUFFIXES, convert_mode, open_image
from eetool.data.source import Source
from eetool.errors import ArtefactError

_TRAIN, _TEST = "train", "test"
_HINT = "DIR/CLASS/image.png, or DIR/train/CLASS/image.png beside DIR/test/CLASS/image.png; all images of one size."


def read_image_folder(folder: Path) -> Source:
    """Read images of equal size in DIR/CLASS/, or in DIR/train/CLASS/ with an official test set in DIR/test/CLASS/.

    Images are grey where all of them are, else RGB. They are never mirrored, because that may change their label.
    """
    is_split = (folder / _TRAIN).is_dir() and (folder / _TEST).is_dir()
    parts = [folder / _TRAIN, folder / _TEST] if is_split else [folder]
    classes = _classes(parts[0])
    if any(set(_classes(part)) - set(classes) for part in parts[1:]):
        raise ArtefactError(f"{parts[-1]}: holds a class that is not in {parts[0]}", _HINT)
    files = [[(path, label) for label, name in enumerate(classes) for path in _images(part / name)] for part in parts]
    paths = [path for part in files for path, _ in part]
    if not paths:
        raise ArtefactError(f"{folder}: no images were found", _HINT)
    labels = np.array([label for part in files for _, label in part], np.int64)
    official = len(files[1]) if len(files) > 1 else 0
    return Source(
        f"folder:{folder.resolve().name}", _read(paths), labels, classes, mirror=False, official_test=official
    )


def _classes(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be read: {error.strerror}", _HINT) from None


def _images(folder: Path) -> Iterator[Path]:
    """Yield the images of one class in a fixed order; none where the folder does not exist."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    yield from (path for path in entries if path.suffix.lower() in SUFFIXES)


def _read(paths: list[Path]) -> np.ndarray:
    """Read images as uint8 (N, C, H, W)."""
    images = [open_image(path) for path in paths]
    odd = next((i for i, image in enumerate(images) if image.size != images[0].size), None)
    if odd is not None:
        sizes = ["×".join(map(str, images[i].size)) for i in (odd, 0)]
        raise ArtefactError(
            f"{paths[odd]}: {sizes[0]} pixels, where {paths[0]} has {sizes[1]}", "Bring all to one size."
        )
    mode = "L" if all(image.mode in ("L", "1", "I;16") for image in images) else "RGB"
    arrays = np.stack([np.asarray(convert_mode(image, mode, path)) for image, path in zip(images, paths, strict=True)])
    return arrays[:, None] if mode == "L" else np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))  # -> (N, C, H, W)
