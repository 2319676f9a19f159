"""Renames that replace nothing, and the exchange of two names; both are one step of the file system where it can."""

import ctypes
import errno
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_HERE = -100  # AT_FDCWD: names are relative to the working folder
_NO_REPLACE, _EXCHANGE = 1, 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}  # by the kernel, file system or sandbox


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or folder; raise FileExistsError where anything is called `target` already."""
    if _renameat2(source, target, _NO_REPLACE):
        return
    if source.is_dir() and not source.is_symlink():
        _folder_new(source, target)
    else:
        _file_new(source, target)


def exchange(one: Path, other: Path) -> bool:
    """Let two files or folders swap their names in one step; False where the system cannot."""
    return _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Rename by Linux's own call; False where it is not supported here."""
    call = _system_call()
    if call is None:
        return False
    if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@cache
def _system_call() -> Any:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another system, or an older C library
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call


def _folder_new(source: Path, target: Path) -> None:
    target.mkdir()
    try:
        source.rename(target)  # a folder replaces an empty folder, and none that holds something
    except BaseException:
        with suppress(OSError):
            target.rmdir()
        raise


def _file_new(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            source.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    else:
        source.unlink()
