"""Records on disk: canonical JSON, atomic writes and hashes; existing files are replaced only with `force`."""

import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from eetool.atomic_rename import exchange, rename_new
from eetool.errors import ArtefactError, OutputError
from eetool.printable_text import visible_json
from eetool.workspace import clear_leftovers, move_aside, workspace
from eetool_measure.records import encode
from eetool_runtime.bundle import MANIFEST
from eetool_runtime.records import decode, parse_json

__all__ = [
    "canonical",
    "check_output",
    "decode",
    "encode",
    "identity",
    "open_regular",
    "read_record",
    "read_text",
    "sha256_file",
    "write_atomic",
    "write_directory",
    "write_file",
]

T = TypeVar("T")
_LONGEST_PREFIX = 240  # bytes of a name
SOURCE = "eetool-source.json"  # marks a folder of source that eetool wrote


def canonical(value: Any) -> str:
    """Return the JSON text of a record: indent of two spaces, keys in field order, one newline at the end."""
    return visible_json(json.dumps(encode(value), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def read_record(cls: type[T], path: Path, schema: str) -> T:
    """Read a JSON document of eetool (`"schema": schema`) into the dataclass `cls`.

    The envelope of `--json` (`eetool`, `command`, `ok`, `error`) is dropped.

    Raises:
        ArtefactError: the file is missing, is not JSON or has another schema, or a field is invalid.
    """

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", f"It should be a {schema} document made by eetool.")

    document = parse_json(read_text(path), refuse)
    actual = document.get("schema") if isinstance(document, dict) else None
    if actual != schema:
        raise refuse(f"expected schema {schema!r}, found {actual!r}")
    fields = {k: v for k, v in document.items() if k not in ("eetool", "command", "ok", "error", "schema")}
    return decode(cls, fields, refuse)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        ArtefactError: the file is missing, unreadable or not UTF-8.
    """
    try:
        with open_regular(path) as opened, io.TextIOWrapper(opened, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ArtefactError(f"{path}: not a text file") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading, as `path.open("rb")` does.

    Pipes, sockets and devices are refused, because opening or reading them may never end.

    Raises:
        OSError: the file cannot be opened, or is not a regular file.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # open() itself raises a clear error for a folder
        raise OSError(errno.EINVAL, "not a regular file (a pipe, a socket or a device)", str(path))
    return path.open("rb")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_output(path: Path, force: bool, directory: bool = False) -> None:
    """Check before long work that its result can be written to `path`, and clear the leftovers of killed runs.

    With `force` a file replaces only a plain file, and a directory only a bundle, source that eetool wrote, an empty
    folder or a plain file.
    This protects other data from a mistyped path.

    Raises:
        OutputError: the result could not be written.
    """
    folder = path.absolute().parent
    with _os_errors_as_output_errors(path):  # such as a name that is too long, or a folder without read permission
        clear_leftovers(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            _check_replaceable(path, path, force, directory)
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder", "Create it first, or give another place.")
    try:  # a trial write, because permissions do not show a read-only disk
        with workspace(path):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}", "Give another place.") from None


def identity(path: Path) -> tuple[int, ...] | None:
    """Return the device, inode, modification time (ns) and size (bytes) of a file or of the manifest of a bundle.

    The tuple changes when another file or bundle takes the path. It is None where that file does not exist.
    """
    try:
        status = (path / MANIFEST if path.is_dir() else path).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def write_atomic(path: Path, data: bytes, force: bool = False) -> None:
    """Write so that `path` holds either the old bytes or all new ones, even after an interruption.

    Raises:
        OutputError: `path` exists and `force` is not set, or it cannot be written.
    """
    with write_file(path, force) as temporary:
        temporary.write_bytes(data)


@contextmanager
def write_file(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty file that becomes `path` when the block succeeds, and is removed when it fails.

    Raises:
        OutputError: `path` exists at the end of the block and `force` is not set, or it cannot be written.
    """
    with _os_errors_as_output_errors(path), workspace(path) as folder:
        new = folder / "new"
        new.touch()
        new.chmod(0o644)
        yield new
        with new.open("r+b") as file:
            os.fsync(file.fileno())
        _publish(new, path, force, directory=False)


@contextmanager
def write_directory(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty directory that becomes `path` when the block succeeds, and is removed when it fails.

    Raises:
        OutputError: `path` exists at the end of the block and `force` is not set, it is a folder that eetool did not
            write, or it cannot be written.
    """
    with _os_errors_as_output_errors(path), workspace(path) as folder:
        new = folder / "new"
        new.mkdir()
        new.chmod(0o755)
        yield new
        _publish(new, path, force, directory=True)


def _publish(new: Path, path: Path, force: bool, directory: bool) -> None:
    """Rename `new` to `path`, after a second check that an existing `path` may be replaced.

    The work may have taken hours since `check_output`.
    """
    try:
        rename_new(new, path)
    except FileExistsError:
        _check_replaceable(path, path, force, directory)
        if directory:
            _swap(new, path)
        else:
            new.replace(path)


def _swap(new: Path, path: Path) -> None:
    """Replace `path` by the directory `new`.

    The replaced file or folder is checked again where no other process can change it by name.
    """
    if exchange(new, path):
        try:
            _check_replaceable(new, path, force=True, directory=True)
        except OutputError:
            exchange(new, path)
            raise
    else:  # where the new directory cannot be renamed, the end of the workspace restores the old one
        _check_replaceable(move_aside(path, new.parent), path, force=True, directory=True)
        rename_new(new, path)


def _check_replaceable(existing: Path, path: Path, force: bool, directory: bool) -> None:
    """Raise OutputError unless `existing`, which has or had the name `path`, may be replaced."""
    if not force:
        raise OutputError(f"{path} exists already", "Give --force to replace it, or another place.")
    if directory and existing.is_dir():
        if not any((existing / mark).is_file() for mark in (MANIFEST, SOURCE)) and any(existing.iterdir()):
            raise OutputError(f"{path} is a folder and not a bundle, so it is not replaced", "Give another place.")
    elif existing.exists() and not existing.is_file():
        raise OutputError(f"{path} is not a plain file, so it is not replaced", "Give another place.")


@contextmanager
def _os_errors_as_output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}", "Nothing was left behind."
        ) from error
