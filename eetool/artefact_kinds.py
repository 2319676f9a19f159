"""Kinds of files and folders that commands read or are given by mistake, told by their first bytes.

Nothing is imported that takes time, and no file is read in whole or run.
"""

import errno
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eetool.records import open_regular
from eetool_runtime.bundle import MANIFEST

BUNDLE, CHECKPOINT, SUPERNET, RESUME = "bundle", "checkpoint", "supernet", "resume"
WEIGHTS, TORCHSCRIPT, KERAS, ONNX, TFLITE = "weights", "torchscript", "keras", "onnx", "tflite"
IMAGE, NPY, NPZ, TABLE, TEXT, PYTHON, ARCHIVE = "image", "npy", "npz", "table", "text", "python", "archive"
MANIFEST_FILE, JSON = "manifest", "json"
# Folders by what they hold, and the rest.
BUNDLES, CHECKPOINTS, IMAGES, FOLDER = "bundles", "checkpoints", "images", "folder"
MISSING, UNKNOWN = "missing", "unknown"

BUNDLE_SUFFIX = ".eebundle"
IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"])
_HEAD_BYTES = 1 << 16
_MAX_RECORD_BYTES = 1 << 22  # of the pickled part of an archive of torch, of which only the bytes are compared
_MAX_ENTRIES, _MAX_INNER = 2000, 50  # of a folder, and of each folder in it
# First bytes of a file, at their offset.
_SIGNATURES = (
    (0, b"\x89PNG", IMAGE),
    (0, b"\xff\xd8\xff", IMAGE),
    (0, b"GIF8", IMAGE),
    (0, b"BM", IMAGE),
    (0, b"II*\0", IMAGE),
    (0, b"MM\0*", IMAGE),
    (8, b"WEBP", IMAGE),
    (0, b"\x93NUMPY", NPY),
    (4, b"TFL3", TFLITE),
    (0, b"\x89HDF", KERAS),
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P", WEIGHTS),  # torch.save before 1.6
    (0, b"\x1f\x8b", ARCHIVE),
    (257, b"ustar", ARCHIVE),
)
_FORMATS = {b"eetool-model/": CHECKPOINT, b"eetool-supernet": SUPERNET, b"eetool-resume/": RESUME}
_BY_SUFFIX = {".onnx": ONNX, ".tflite": TFLITE, ".py": PYTHON, ".tsv": TABLE, ".csv": TABLE, ".txt": TEXT}
_SCHEMA = re.compile(rb'"schema": ?"([a-z_]+/)[0-9]+"')


@dataclass(frozen=True)
class Artefact:
    """A path and its kind.

    Attributes:
        path: as the user gave it.
        kind: a constant of this module, or for a JSON document its schema without the version, such as `bench/`.
        inner: the first bundle or checkpoint in a folder of them.
    """

    path: Path
    kind: str
    inner: Path | None = None


def identify(path: Path) -> Artefact:
    """Return the kind of the file or folder at `path`; UNKNOWN where the bytes do not tell it or cannot be read.

    Raises:
        OSError: the name is too long.
    """
    try:
        if path.is_dir():
            return _identify_folder(path)
        if not path.exists() and not path.is_symlink():
            return Artefact(path, MISSING)
        with open_regular(path) as file:
            return Artefact(path, _kind_of_file(path, file.read(_HEAD_BYTES)))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no command can open it
            raise
        return Artefact(path, UNKNOWN)
    except ValueError:
        return Artefact(path, UNKNOWN)


def _identify_folder(path: Path) -> Artefact:
    if (path / MANIFEST).is_file() or path.suffix == BUNDLE_SUFFIX:
        return Artefact(path, BUNDLE)
    entries = sorted(path.iterdir())[:_MAX_ENTRIES]
    bundles = [entry for entry in entries if entry.is_dir() and (entry / MANIFEST).is_file()]
    if bundles:
        return Artefact(path, BUNDLES, bundles[0])
    models = [entry for entry in entries if entry.suffix in (".pt", ".pth") and identify(entry).kind == CHECKPOINT]
    if models:
        return Artefact(path, CHECKPOINTS, models[0])
    return Artefact(path, IMAGES if any(_images(path, entries)) else FOLDER)


def _images(folder: Path, entries: list[Path]) -> Iterator[bool]:
    """Yield whether each file in the folder, or in a folder inside it, has the suffix of an image."""
    for entry in entries:
        yield entry.suffix.lower() in IMAGE_SUFFIXES
        if entry.is_dir():
            with suppress(OSError):
                yield from (inner.suffix.lower() in IMAGE_SUFFIXES for inner in islice(entry.rglob("*"), _MAX_INNER))


def _kind_of_file(path: Path, head: bytes) -> str:
    if head.startswith(b"PK"):
        return _kind_of_archive(path)
    for offset, first, kind in _SIGNATURES:
        if head[offset : offset + len(first)] == first:
            return kind
    if head[8:9] == b"{" and b'"dtype"' in head:  # safetensors: the length of the header, and the header
        return WEIGHTS
    if head.lstrip()[:1] == b"{":
        return _kind_of_json(head)
    by_suffix = _BY_SUFFIX.get(path.suffix.lower(), UNKNOWN)
    return by_suffix if head else UNKNOWN


def _kind_of_json(head: bytes) -> str:
    schema = _SCHEMA.search(head)
    if schema is not None:
        return schema[1].decode()
    return MANIFEST_FILE if b'"schema_version"' in head and b'"components"' in head else JSON


def _kind_of_archive(path: Path) -> str:
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _kind_of_members(archive)
        except zipfile.BadZipFile:
            return UNKNOWN


def _kind_of_members(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return TORCHSCRIPT
    record = next((name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None)
    if record is None:
        return NPZ if names and all(name.endswith(".npy") for name in names) else ARCHIVE
    if archive.getinfo(record).file_size > _MAX_RECORD_BYTES:
        return WEIGHTS
    content = archive.read(record)
    return next((kind for form, kind in _FORMATS.items() if form in content), WEIGHTS)
