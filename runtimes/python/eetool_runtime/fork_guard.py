"""What was loaded before a fork is refused behind it.

A child has the memory of its parent's engines, and not their threads. A lock that another thread held at that moment
stays locked in the child for ever.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

from .errors import BackendError

_LOAD_ANEW = "Load it in every worker, after the fork, or start workers with multiprocessing's `spawn`."

_forks = 0  # that lie between the first process and this one
_engines: WeakSet[Any] = WeakSet()  # whose destructors wait for threads


class Origin:
    """The process in which something was loaded, and which alone may use it; `what` was done there."""

    __slots__ = ("_forks", "_hint", "_what")

    def __init__(self, what: str = "this model was loaded", hint: str = _LOAD_ANEW) -> None:
        self._forks, self._what, self._hint = _forks, what, hint

    def check(self) -> None:
        """Raise BackendError in a child that was forked since."""
        if self._forks != _forks:
            raise BackendError(f"{self._what} before this process was forked; a forked child cannot use it", self._hint)


def keep(engine: Any) -> None:
    """Have children that are forked never free `engine`: it would wait there for threads that do not exist."""
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
