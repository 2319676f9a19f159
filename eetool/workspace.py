"""Working folders: locked while their process lives, and removed by the next run where it was killed.

The folder `.NAME.HOST-XXXXXXXX` lies beside the output NAME, because a rename works only within one file system. HOST
stands for the machine: locks of other machines cannot be seen on every shared disk, so their folders are left alone.
A folder `old` inside holds what was moved aside; that comes back where its place is free again.
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

_LOCK, _OLD, _GONE = "lock", "old", "gone"
_RANDOM_LETTERS = 8  # that tempfile adds
_LONGEST_NAME_BYTES = 200  # of at most 255, with room for the rest of the folder's name


@contextmanager
def workspace(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which is removed at the end; first clear what dead processes left.

    Raises:
        OSError: it cannot be made.
    """
    clear_leftovers(path)
    folder, lock = _new(path)
    try:
        yield folder
    finally:
        _settle(folder, path)
        os.close(lock)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary folder in the system's folder for temporary files; it is removed after the block."""
    with workspace(Path(tempfile.gettempdir()) / "eetool") as folder:
        made = folder / "new"
        made.mkdir()
        yield made


@contextmanager
def set_aside(path: Path, companions: Sequence[str], stands: Callable[[], bool]) -> Iterator[None]:
    """Move a file aside for a new one, and restore it if the block fails before the new one is valid.

    Args:
        path: the file.
        companions: suffixes of further files that belong to `path` and are moved with it.
        stands: returns whether the new file is valid.
    """
    every = [path, *(path.with_name(path.name + ending) for ending in companions)]
    with workspace(path) as folder:
        for file in every:
            with suppress(FileNotFoundError):
                move_aside(file, folder)
        try:
            yield
        except BaseException:
            if not stands():
                for file in every:
                    file.unlink(missing_ok=True)
            raise


def move_aside(path: Path, folder: Path) -> Path:
    """Move `path` into its workspace `folder`, whose end puts it back unless its name is taken; the new place."""
    old = folder / _OLD
    old.mkdir(exist_ok=True)
    return path.rename(old / path.name)


def clear_leftovers(path: Path) -> None:
    """Remove the workspaces of `path` whose processes are dead; what cannot be removed is left."""
    for folder in _workspaces(path):
        try:
            lock = _locked(folder)
        except OSError:  # a living process holds it, or this file system knows no locks
            continue
        _settle(folder, path)
        os.close(lock)


def _workspaces(path: Path) -> list[Path]:
    """Those of this machine and user."""
    prefix, parent, found = _prefix(path), path.absolute().parent, []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(prefix) or len(entry.name) != len(prefix) + _RANDOM_LETTERS:
                continue
            held = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(held.st_mode) and held.st_uid == os.geteuid():
                found.append(parent / entry.name)
    return found


def _prefix(path: Path) -> str:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}.{_host()}-"


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _new(path: Path) -> tuple[Path, int]:
    """Return a new workspace and the handle of its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(path), dir=path.absolute().parent))
        try:
            return folder, _locked(folder)
        except (BlockingIOError, FileNotFoundError):  # another run took it for a leftover before it was locked
            continue
        except OSError:
            if (folder / _LOCK).exists():  # no locks on this file system: nobody can take it for a leftover either
                return folder, os.open(folder / _LOCK, os.O_RDWR)
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _locked(folder: Path) -> int:
    """Lock a workspace; raises BlockingIOError where another holds it, FileNotFoundError where it is gone."""
    place = folder / _LOCK
    lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), place.stat()):
            raise FileNotFoundError(place)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _settle(folder: Path, path: Path) -> None:
    """Put back what was moved aside where its place is free, and remove the workspace."""
    old = folder / _OLD
    try:
        if old.is_dir():
            if not os.path.lexists(path):
                # `path` itself last: until it is back, a run that is killed here can be repeated.
                for item in sorted(old.iterdir(), key=lambda item: item.name == path.name):
                    rename_new(item, path.with_name(item.name))
            old.rename(folder / _GONE)  # in one step: nothing half removed is ever put back
    except OSError:  # it could not be put back: better left to the next run than lost
        return
    shutil.rmtree(folder, ignore_errors=True)
