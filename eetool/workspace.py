"""Working folders: locked while their process runs; after a killed process the next run removes them.

The folder `.NAME.HOST-XXXXXXXX` lies beside the output NAME, because a rename works only within one file system. HOST
is a hash of the host name. Not every shared disk shows the locks of other machines, so their folders are left alone.
The subfolder `old` holds the files that were moved aside. They are restored unless their path is taken by then.
"""

import fcntl
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from eetool.atomic_rename import rename_new

_LOCK, _OLD, _DISCARDED = "lock", "old", "gone"
_RANDOM_LETTERS = 8  # added by tempfile
_LONGEST_NAME_BYTES = 200  # of at most 255, with room for the rest of the folder's name


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """Clear the leftovers of killed processes, and yield a new folder beside `path` that is removed at the end.

    Raises:
        OSError: the folder cannot be created.
    """
    clear_leftovers(path)
    folder, lock = _create_workspace(path)
    try:
        yield folder
    finally:
        _restore_and_remove(folder, path)
        os.close(lock)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary folder in the system's folder for temporary files; it is removed after the block."""
    with workspace(Path(tempfile.gettempdir()) / "eetool") as folder:
        directory = folder / "new"
        directory.mkdir()
        yield directory


@contextmanager
def set_aside(path: Path, companions: Sequence[str], is_valid: Callable[[], bool]) -> Iterator[None]:
    """Move a file aside for a new one, and restore it if the block fails before the new file is valid.

    Args:
        path: the file.
        companions: suffixes of further files that belong to `path` and are moved with it.
        is_valid: returns whether the new file is valid.
    """
    files = [path, *(path.with_name(path.name + suffix) for suffix in companions)]
    with workspace(path) as folder:
        for file in files:
            with suppress(FileNotFoundError):
                move_aside(file, folder)
        try:
            yield
        except BaseException:
            if not is_valid():
                for file in files:
                    file.unlink(missing_ok=True)
            raise


def move_aside(path: Path, folder: Path) -> Path:
    """Move `path` into its workspace `folder` and return the new path.

    The end of the workspace restores the file unless `path` is taken by then.
    """
    old = folder / _OLD
    old.mkdir(exist_ok=True)
    return path.rename(old / path.name)


def clear_leftovers(path: Path) -> None:
    """Remove the workspaces of `path` whose processes have ended, where they can be removed."""
    for folder in _workspaces(path):
        try:
            lock = _lock_workspace(folder)
        except OSError:  # a running process holds the lock, or the file system does not support locks
            continue
        _restore_and_remove(folder, path)
        os.close(lock)


def clear_folder(folder: Path) -> None:
    """Clear the leftovers of killed processes of everything in a folder that belongs to eetool alone."""
    names = {entry.name[1:].rpartition(".")[0] for entry in folder.glob(".*.*")}
    for name in names:
        clear_leftovers(folder / name)


def _workspaces(path: Path) -> list[Path]:
    """Return the workspaces of `path` that belong to this machine and user."""
    prefix, parent, folders = _prefix(path), path.absolute().parent, []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix) or len(entry.name) != len(prefix) + _RANDOM_LETTERS:
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                folders.append(parent / entry.name)
    return folders


def _prefix(path: Path) -> str:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}.{_host()}-"


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _create_workspace(path: Path) -> tuple[Path, int]:
    """Return a new workspace and the handle of its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.absolute().parent))
        try:
            return folder, _lock_workspace(folder)
        except (BlockingIOError, FileNotFoundError):  # another run removed the folder before it was locked
            continue
        except OSError:
            if (folder / _LOCK).exists():  # without locks no other run removes the folder
                return folder, os.open(folder / _LOCK, os.O_RDWR)
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _lock_workspace(folder: Path) -> int:
    """Lock a workspace and return the handle of its lock.

    Raises:
        BlockingIOError: another process holds the lock.
        FileNotFoundError: the workspace no longer exists.
    """
    path = folder / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), path.stat()):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _restore_and_remove(folder: Path, path: Path) -> None:
    """Restore the files that were moved aside, unless `path` is taken, and remove the workspace."""
    old = folder / _OLD
    try:
        if old.is_dir():
            if not os.path.lexists(path):
                # `path` itself last: until it is restored, the next run can repeat a restore that was killed.
                for item in sorted(old.iterdir(), key=lambda item: item.name == path.name):
                    rename_new(item, path.with_name(item.name))
            old.rename(folder / _DISCARDED)  # in one step, so that a half removed folder is never restored
    except OSError:  # not restored, so kept for the next run
        return
    shutil.rmtree(folder, ignore_errors=True)
