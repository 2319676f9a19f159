"""Renames that replace nothing, and the exchange of two names; both are atomic where the file system supports it."""

import ctypes
import errno
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100  # names are relative to the working folder
_NO_REPLACE, _EXCHANGE = 1, 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}  # by the kernel, file system or sandbox


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or folder without replacing anything.

    Raises:
        FileExistsError: `target` exists already.
        OSError: the rename is not possible.
    """
    if _renameat2(source, target, _NO_REPLACE):
        return
    if source.is_dir() and not source.is_symlink():
        _rename_folder(source, target)
    else:
        _rename_file(source, target)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step; return False where the system does not support it."""
    return _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Rename by the Linux system call `renameat2`; return False where it is not supported."""
    renameat2 = _system_call()
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
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


def _rename_folder(source: Path, target: Path) -> None:
    target.mkdir()
    try:
        source.rename(target)  # a folder replaces an empty folder, but never a full one
    except BaseException:
        with suppress(OSError):
            target.rmdir()
        raise


def _rename_file(source: Path, target: Path) -> None:
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
