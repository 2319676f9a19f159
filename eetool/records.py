"""Records on disk: canonical JSON, atomic writes, hashes. Nothing is overwritten unless the caller says so."""

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


def canonical(value: Any) -> str:
    """JSON text of a record: two spaces, keys in the order of the dataclass, one newline at the end."""
    return visible_json(json.dumps(encode(value), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def read_record(cls: type[T], path: Path, schema: str) -> T:
    """Read a JSON document of eetool (`"schema": schema`) into the dataclass `cls`.

    The envelope of `--json` (`eetool`, `command`, `ok`) is dropped.

    Raises:
        ArtefactError: the file is missing, not JSON, of another schema, or a field is off.
    """

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", f"It should be a {schema} document made by eetool.")

    document = parse_json(read_text(path), refuse)
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        raise refuse(f"expected schema {schema!r}, found {found!r}")
    fields = {k: v for k, v in document.items() if k not in ("eetool", "command", "ok", "schema")}
    return decode(cls, fields, refuse)


def read_text(path: Path) -> str:
    """Text of a file; raises ArtefactError where it is missing, unreadable or not UTF-8."""
    try:
        with open_regular(path) as opened, io.TextIOWrapper(opened, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError:
        raise ArtefactError(f"{path}: not a text file") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, as `path.open("rb")` does; a pipe, a socket or a device raises OSError.

    Opening one of these may wait for ever, and reading it may never end.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder, open() says itself what it is
        raise OSError(errno.EINVAL, "not a regular file (a pipe, a socket or a device)", str(path))
    return path.open("rb")


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_output(path: Path, force: bool, directory: bool = False) -> None:
    """Raise OutputError now, before long work, where the result could not be written later.

    With `force` a file replaces a plain file, and a directory a bundle: nobody meant to lose anything else. What was
    left by runs that were killed is cleared.
    """
    folder = path.absolute().parent
    with _output_errors(path):  # a name that is too long, a folder that may not be looked into
        clear_leftovers(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            _refuse_taken(path, path, force, directory)
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder", "Create it first, or give another place.")
    try:  # permissions are not all there is: the system administrator cannot write to a read-only disk either
        with workspace(path):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}", "Give another place.") from None


def identity(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file or bundle from one that took its place; None where there is none."""
    try:
        held = (path / MANIFEST if path.is_dir() else path).stat()
    except FileNotFoundError:
        return None
    return held.st_dev, held.st_ino, held.st_mtime_ns, held.st_size


def write_atomic(path: Path, data: bytes, force: bool = False) -> None:
    """Write so that `path` holds the old bytes or all of the new ones, whatever happens in between.

    Raises:
        OutputError: it exists and `force` was not given, or it cannot be written.
    """
    with write_file(path, force) as temporary:
        temporary.write_bytes(data)


@contextmanager
def write_file(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty file that becomes `path` when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: it exists by then and `force` was not given, or it cannot be written.
    """
    with _output_errors(path), workspace(path) as folder:
        new = folder / "new"
        new.touch()
        new.chmod(0o644)
        yield new
        with new.open("r+b") as file:
            os.fsync(file.fileno())
        _publish(new, path, force, directory=False)


@contextmanager
def write_directory(path: Path, force: bool = False) -> Iterator[Path]:
    """Yield an empty directory that becomes `path` when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: it exists by then and `force` was not given, it is a folder and no bundle, or it cannot be
            written.
    """
    with _output_errors(path), workspace(path) as folder:
        new = folder / "new"
        new.mkdir()
        new.chmod(0o755)
        yield new
        _publish(new, path, force, directory=True)


def _publish(new: Path, path: Path, force: bool, directory: bool) -> None:
    """Give what was made its name. What has that name by now is looked at again: the work may have taken hours."""
    try:
        rename_new(new, path)
    except FileExistsError:
        _refuse_taken(path, path, force, directory)
        if directory:
            _swap(new, path)
        else:
            new.replace(path)


def _swap(new: Path, path: Path) -> None:
    """Put a directory in the place of what is there, and look at that once more when nobody can reach it."""
    if exchange(new, path):
        try:
            _refuse_taken(new, path, force=True, directory=True)
        except OutputError:
            exchange(new, path)
            raise
    else:  # the end of the workspace puts the old one back where the new one did not take its place
        _refuse_taken(move_aside(path, new.parent), path, force=True, directory=True)
        rename_new(new, path)


def _refuse_taken(held: Path, path: Path, force: bool, directory: bool) -> None:
    """Raise OutputError unless `held`, which has or had the name `path`, may be replaced."""
    if not force:
        raise OutputError(f"{path} exists already", "Give --force to replace it, or another place.")
    if directory and held.is_dir():
        if not (held / MANIFEST).is_file() and any(held.iterdir()):
            raise OutputError(f"{path} is a folder and not a bundle, so it is not replaced", "Give another place.")
    elif held.exists() and not held.is_file():
        raise OutputError(f"{path} is not a plain file, so it is not replaced", "Give another place.")


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}", "Nothing was left behind."
        ) from error
