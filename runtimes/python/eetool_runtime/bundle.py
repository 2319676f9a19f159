"""Opening a bundle directory: every byte is checked against the manifest before any graph is loaded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Union

import numpy as np

from .argument_checks import shown
from .errors import BundleError, UsageError
from .manifest import MAX_MANIFEST_BYTES, Manifest, Variant
from .manifest_parser import parse_manifest
from .records import dataclass

MANIFEST = "manifest.json"
_MAX_UNPACKED_BYTES = 1 << 28  # of samples: a few inputs, not a zip bomb
_COPY_AGAIN = "Copy the bundle again from where it was made, or export it again."


@dataclass(frozen=True)
class Bundle:
    """A directory whose files are those that its manifest describes."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """Where a file of the bundle lies, from its name in the manifest; raises UsageError where that is no text."""
        if not isinstance(relative, str):
            raise UsageError(f"a file is named by a text, not {shown(relative)}")
        return self.path.joinpath(*relative.split("/"))

    def variant(self, name: str) -> Variant:
        """The variant called `name`; raises UsageError with the names there are."""
        if not isinstance(name, str) or name not in self.manifest.variants:
            there = ", ".join(self.manifest.variants)
            raise UsageError(f"{self.path.name} has no variant {shown(name)}", f"It has: {there}.")
        return self.manifest.variants[name]

    def recheck(self, relative: str) -> None:
        """Raise BundleError where a file is no longer the one that was checked when the bundle was opened.

        Also raises UsageError where the manifest has no file of that name.
        """
        path = self.file(relative)
        if relative not in self.manifest.files:
            raise UsageError(f"{self.path.name} has no file {shown(relative)}")
        record = self.manifest.files[relative]
        _check_file(path, relative, record.size_bytes, record.sha256, self.path)

    def arrays(self, relative: str) -> dict[str, np.ndarray]:
        """The arrays of one of the bundle's `.npz` files; raises BundleError where it cannot be read."""
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
                raise ValueError("it holds something else than arrays")
            return arrays
        except Exception as error:  # a damaged archive raises a dozen unrelated types
            raise BundleError(f"{relative}: not a readable .npz file: {error}", _COPY_AGAIN) from None


def open_bundle(path: Union[str, os.PathLike[str]]) -> Bundle:
    """Read and check the bundle at `path`.

    Raises:
        BundleError: it is not there, not a directory, its manifest is refused, or a file's size or hash is off.
        UsageError: `path` is no path.
    """
    try:
        root = Path(path)
    except TypeError:
        raise UsageError(f"the path of a bundle is a text or a Path, not {shown(path)}") from None
    try:
        is_folder, exists = root.is_dir(), root.exists()
    except (OSError, ValueError) as error:  # a name that no file can have, or a folder that may not be looked into
        raise BundleError(f"{root}: cannot be read: {error}") from None
    if not is_folder:
        found = "is not a directory" if exists else "does not exist"
        raise BundleError(f"{root}: {found}", "A bundle is a directory NAME.eebundle made by `eetool export`.")
    manifest = parse_manifest(_read_manifest(root / MANIFEST))
    bundle = Bundle(root, manifest)
    for relative, record in manifest.files.items():
        _check_file(bundle.file(relative), relative, record.size_bytes, record.sha256, root)
    return bundle


def _read_manifest(path: Path) -> bytes:
    _refuse_unless_plain(path, MANIFEST)
    with _open(path, MANIFEST) as file:
        return file.read(MAX_MANIFEST_BYTES + 1)


def _check_file(path: Path, relative: str, size_bytes: int, sha256: str, root: Path) -> None:
    for folder in path.parents:
        if folder == root:
            break
        if folder.is_symlink():
            raise BundleError(f"{relative}: its folder is a link, which a bundle may not hold", _COPY_AGAIN)
    found = _refuse_unless_plain(path, relative)
    if found != size_bytes:
        raise BundleError(f"{relative}: {found} bytes where the manifest says {size_bytes}", _COPY_AGAIN)
    from hashlib import sha256 as new_digest  # slow to import, and this is where the time may be spent

    digest = new_digest()
    with _open(path, relative) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise BundleError(f"{relative}: its SHA-256 is not the one in the manifest; it was changed", _COPY_AGAIN)


@contextmanager
def _open(path: Path, relative: str) -> Iterator[BinaryIO]:
    """The file at `path`, opened for reading; failing to open or read it is the bundle's fault."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise _unreadable(relative, error) from None


def _unreadable(relative: str, error: OSError) -> BundleError:
    return BundleError(f"{relative}: cannot be read: {error.strerror}", _COPY_AGAIN)


def _refuse_unless_plain(path: Path, relative: str) -> int:
    """Size in bytes of the plain file at `path`; links, pipes, devices and absent files are refused."""
    try:
        status = path.lstat()
    except OSError as error:
        raise _unreadable(relative, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{relative}: not a plain file", _COPY_AGAIN)
    return status.st_size
