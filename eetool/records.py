"""Records on disk: canonical JSON, atomic writes, hashes. Nothing is overwritten unless the caller says so."""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from eetool.errors import ArtefactError, OutputError
from eetool.text import visible_json
from eetool_measure.records import encode
from eetool_runtime.bundle import MANIFEST
from eetool_runtime.records import decode, parse_json

__all__ = [
    "canonical",
    "check_output",
    "decode",
    "encode",
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

    With `force` a file replaces a plain file, and a directory a bundle: nobody meant to lose anything else.
    """
    folder = path.absolute().parent
    try:
        _check_replaced(path, force, directory)
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder", "Create it first, or give -o for another place.")
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise OutputError(f"{path} cannot be written: {error.strerror}", "Give -o for another place.") from None
    try:  # permissions are not all there is: the system administrator cannot write to a read-only disk either
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written to: {error.strerror}", "Give -o for another place.") from None


def _check_replaced(path: Path, force: bool, directory: bool) -> None:
    if path.exists() and not force:
        raise OutputError(f"{path} exists already", "Give --force to replace it, or -o for another place.")
    if directory and path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise OutputError(f"{path} is a folder and not a bundle, so it is not replaced", "Give -o for another place.")
    if not directory and path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a plain file, so it is not replaced", "Give -o for another place.")


def write_atomic(path: Path, data: bytes) -> None:
    """Write so that `path` holds the old bytes or all of the new ones, whatever happens in between."""
    with write_file(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def write_file(path: Path) -> Iterator[Path]:
    """Yield an empty file that becomes `path` when the block ends well, and vanishes when it does not."""
    with _output_errors(path), _sibling(path, directory=False) as temporary:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def write_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `path` when the block ends well, and vanishes when it does not."""
    with _output_errors(path), _sibling(path, directory=True) as temporary:
        yield temporary
        if path.exists():
            with _sibling(path, directory=True) as aside:
                path.replace(aside / "old")
                try:
                    temporary.replace(path)
                except BaseException:
                    (aside / "old").replace(path)
                    raise
        else:
            temporary.replace(path)


@contextmanager
def _sibling(path: Path, directory: bool) -> Iterator[Path]:
    """A temporary name beside `path` (a rename works only within one file system), removed at the end."""
    # Bytes, not characters, have a limit: 255 of them, with what tempfile adds.
    prefix = os.fsdecode(os.fsencode(f".{path.name}")[:_LONGEST_PREFIX]) + "."
    if directory:
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.absolute().parent))
        temporary.chmod(0o755)
    else:
        handle, name = tempfile.mkstemp(prefix=prefix, dir=path.absolute().parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error.strerror or error}", "Nothing was left behind."
        ) from error
