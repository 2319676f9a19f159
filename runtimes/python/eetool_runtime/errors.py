"""Everything this package raises, as a tree (exit codes are those of the `eetool` command):

EarlyExitError              the root; carries `exit_code` and an optional `hint`
├── UsageError          2   an unknown operating point, variant, pool, ...
├── BundleError         3   the bundle is damaged, hostile, or of another version
├── InputError          3   an array does not fit the model
└── BackendError        5   no installed backend opens this graph
"""

from __future__ import annotations

from typing import Optional


class EarlyExitError(Exception):
    """Root of the tree. `hint` says what to do about it; `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(self, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EarlyExitError):
    """The call itself is off: a name or option that does not exist."""

    exit_code = 2


class BundleError(EarlyExitError):
    """The bundle cannot be trusted or read."""

    exit_code = 3


class InputError(EarlyExitError):
    """An input array does not fit: wrong name, shape or dtype, or values that are not finite."""

    exit_code = 3


class BackendError(EarlyExitError):
    """No installed backend opens the graph, or the one asked for cannot run as asked."""

    exit_code = 5
