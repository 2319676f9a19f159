"""Refusal of objects that were loaded before a fork.

A child process has the memory of its parent's engines, but not their threads. A lock that another thread held during
the fork stays locked in the child forever.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

from .errors import BackendError

_LOAD_AGAIN = "Load it in every worker, after the fork, or start workers with multiprocessing's `spawn`."

_forks = 0  # number of forks between the first process and this one
_engines: WeakSet[Any] = WeakSet()  # engines whose destructors wait for threads


class ForkGuard:
    """Record of the process that loaded an object; only this process may use the object."""

    __slots__ = ("_forks", "_hint", "_what")

    def __init__(self, what: str = "this model was loaded", hint: str = _LOAD_AGAIN) -> None:
        self._forks, self._what, self._hint = _forks, what, hint

    def check(self) -> None:
        """Raise BackendError in a process that was forked after this object was made."""
        if self._forks != _forks:
            raise BackendError(f"{self._what} before this process was forked; a forked child cannot use it", self._hint)


def never_free_in_children(engine: Any) -> None:
    """Prevent forked children from freeing `engine`, whose destructor would wait for threads that do not exist."""
    _engines.add(engine)


def _in_child() -> None:
    global _forks
    _forks += 1
    if _engines:
        import ctypes

        for engine in list(_engines):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_in_child)
