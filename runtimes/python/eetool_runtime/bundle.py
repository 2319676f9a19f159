"""Bundle directories; every byte is checked against the manifest before any graph is loaded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Union

import numpy as np

from .argument_checks import short_repr
from .errors import BundleError, UsageError
from .manifest import MAX_MANIFEST_BYTES, Manifest, Variant
from .manifest_parser import parse_manifest
from .near_names import known_names
from .records import dataclass

MANIFEST = "manifest.json"
_MAX_UNPACKED_BYTES = 1 << 28  # of samples; a zip bomb is refused
_COPY_AGAIN = "Copy the bundle again from where it was made, or export it again."


@dataclass(frozen=True)
class Bundle:
    """A bundle directory and its manifest."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """Return the path of the file that the manifest calls `relative`; raises UsageError unless it is a string."""
        if not isinstance(relative, str):
            raise UsageError(f"the name of a file must be a string, not {short_repr(relative)}")
        return self.path.joinpath(*relative.split("/"))

    def variant(self, name: str) -> Variant:
        """Return the variant `name`; raises UsageError with the known names."""
        if not isinstance(name, str) or name not in self.manifest.variants:
            hint = known_names(name, self.manifest.variants, "It has")
            raise UsageError(f"{self.path.name} has no variant {short_repr(name)}", hint)
        return self.manifest.variants[name]

    def size_bytes(self, files: Iterable[str]) -> int:
        """Return the size of files of the manifest, each counted once."""
        return sum(self.manifest.files[relative].size_bytes for relative in set(files))

    def recheck(self, relative: str) -> None:
        """Check size and hash of a file again, after the bundle was opened.

        Raises:
            BundleError: the file has changed.
            UsageError: the manifest has no file of that name.
        """
        path = self.file(relative)
        if relative not in self.manifest.files:
            raise UsageError(f"{self.path.name} has no file {short_repr(relative)}")
        record = self.manifest.files[relative]
        _check_file(path, relative, record.size_bytes, record.sha256, self.path)

    def arrays(self, relative: str) -> dict[str, np.ndarray]:
        """Return the arrays of an `.npz` file of the bundle; raises BundleError where it cannot be read."""
        path = self.file(relative)
        import zipfile  # not needed to run a model, and slow to import

        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _MAX_UNPACKED_BYTES:
                raise ValueError(f"{unpacked} bytes unpacked; at most {_MAX_UNPACKED_BYTES} are allowed")
            with np.load(path, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("it holds members that are not arrays")
            return arrays
        except Exception as error:  # a damaged archive raises a dozen unrelated types
            raise BundleError(f"{relative}: not a readable .npz file: {error}", _COPY_AGAIN) from None


def open_bundle(path: Union[str, os.PathLike[str]]) -> Bundle:
    """Read and check the bundle at `path`.

    Raises:
        BundleError: it is absent or not a directory, its manifest is refused, or a file has another size or hash.
        UsageError: `path` is not a path.
    """
    try:
        root = Path(path)
    except TypeError:
        raise UsageError(f"the path of a bundle must be a string or a Path, not {short_repr(path)}") from None
    try:
        is_folder, exists = root.is_dir(), root.exists()
    except (OSError, ValueError) as error:  # an invalid file name, or a folder without read permission
        raise BundleError(f"{root}: cannot be read: {error}") from None
    if not is_folder:
        problem = "is not a directory" if exists else "does not exist"
        raise BundleError(f"{root}: {problem}", "A bundle is a directory NAME.eebundle made by `eetool export`.")
    manifest = parse_manifest(_read_manifest(root / MANIFEST))
    bundle = Bundle(root, manifest)
    for relative, record in manifest.files.items():
        _check_file(bundle.file(relative), relative, record.size_bytes, record.sha256, root)
    return bundle


def _read_manifest(path: Path) -> bytes:
    _check_regular(path, MANIFEST)
    with _open(path, MANIFEST) as file:
        return file.read(MAX_MANIFEST_BYTES + 1)


def _check_file(path: Path, relative: str, size_bytes: int, sha256: str, root: Path) -> None:
    for folder in path.parents:
        if folder == root:
            break
        if folder.is_symlink():
            raise BundleError(f"{relative}: its folder is a link; links are not allowed in a bundle", _COPY_AGAIN)
    actual_bytes = _check_regular(path, relative)
    if actual_bytes != size_bytes:
        raise BundleError(f"{relative}: {actual_bytes} bytes where the manifest says {size_bytes}", _COPY_AGAIN)
    from hashlib import sha256 as new_digest  # slow to import

    digest = new_digest()
    with _open(path, relative) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise BundleError(f"{relative}: its SHA-256 is not the one in the manifest; it was changed", _COPY_AGAIN)


@contextmanager
def _open(path: Path, relative: str) -> Iterator[BinaryIO]:
    """Open the file at `path` for reading; an OSError becomes a BundleError."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise _unreadable(relative, error) from None


def _unreadable(relative: str, error: OSError) -> BundleError:
    return BundleError(f"{relative}: cannot be read: {error.strerror}", _COPY_AGAIN)


def _check_regular(path: Path, relative: str) -> int:
    """Return the size in bytes of a regular file; links, pipes, devices and absent files are refused."""
    try:
        status = path.lstat()
    except OSError as error:
        raise _unreadable(relative, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{relative}: not a plain file", _COPY_AGAIN)
    return status.st_size
