"""Everything this package raises, as a tree (exit codes are those of the `eetool` command):

EarlyExitError              the root; carries `exit_code` and an optional `hint`
├── UsageError          2   an unknown operating point, variant, pool, ...
├── BundleError         3   the bundle is damaged, hostile, or of another version
├── InputError          3   an array does not fit the model
├── VerificationError   4   the bundle does not compute what it was exported to compute
├── BackendError        5   no installed backend opens this graph
└── MeterError          5   there is no power meter, or it cannot be read
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


class VerificationError(EarlyExitError):
    """A graph gives other numbers than those recorded when it was exported."""

    exit_code = 4


class BackendError(EarlyExitError):
    """No installed backend opens the graph, or the one asked for cannot run as asked."""

    exit_code = 5


class MeterError(EarlyExitError):
    """There is no power meter, or it cannot be read: no energy is known, and none is made up."""

    exit_code = 5
