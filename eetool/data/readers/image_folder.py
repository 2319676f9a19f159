"""`folder:DIR`: image files in one folder per class."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eetool.data.readers.image_files import SUFFIXES, converted, open_image
from eetool.data.source import Source
from eetool.errors import ArtefactError

_TRAIN, _TEST = "train", "test"
_HINT = "DIR/CLASS/image.png, or DIR/train/CLASS/image.png beside DIR/test/CLASS/image.png; all images of one size."


def read_image_folder(place: Path) -> Source:
    """Images of equal size in DIR/CLASS/, or in DIR/train/CLASS/ with an official test set in DIR/test/CLASS/.

    Grey images stay grey where all of them are; else all are RGB. They are never mirrored: whether that keeps a label,
    only their owner knows.
    """
    parts = [place / _TRAIN, place / _TEST] if (place / _TRAIN).is_dir() and (place / _TEST).is_dir() else [place]
    classes = _classes(parts[0])
    if any(set(_classes(part)) - set(classes) for part in parts[1:]):
        raise ArtefactError(f"{parts[-1]}: holds a class that is not in {parts[0]}", _HINT)
    files = [[(path, label) for label, name in enumerate(classes) for path in _images(part / name)] for part in parts]
    together = [path for part in files for path, _ in part]
    if not together:
        raise ArtefactError(f"{place}: no images were found", _HINT)
    labels = np.array([label for part in files for _, label in part], np.int64)
    official = len(files[1]) if len(files) > 1 else 0
    return Source(f"folder:{place.resolve().name}", _read(together), labels, classes, False, official)


def _classes(place: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in place.iterdir() if entry.is_dir()))
    except OSError as error:
        raise ArtefactError(f"{place}: cannot be read: {error.strerror}", _HINT) from None


def _images(folder: Path) -> Iterator[Path]:
    """The images of one class in a fixed order; a class that a part lacks has none."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    yield from (path for path in entries if path.suffix.lower() in SUFFIXES)


def _read(paths: list[Path]) -> np.ndarray:
    """uint8 (N, C, H, W)."""
    images = [open_image(path) for path in paths]
    odd = next((i for i, image in enumerate(images) if image.size != images[0].size), None)
    if odd is not None:
        sizes = ["×".join(map(str, images[i].size)) for i in (odd, 0)]
        raise ArtefactError(
            f"{paths[odd]}: {sizes[0]} pixels, where {paths[0]} has {sizes[1]}", "Bring all to one size."
        )
    mode = "L" if all(image.mode in ("L", "1", "I;16") for image in images) else "RGB"
    arrays = np.stack([np.asarray(converted(image, mode, path)) for image, path in zip(images, paths, strict=True)])
    return arrays[:, None] if mode == "L" else np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))  # -> (N, C, H, W)
