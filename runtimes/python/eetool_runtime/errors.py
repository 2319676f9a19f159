"""Everything this package raises, with the exit code that the `eetool` command makes of it.

EarlyExitError 1, and below it UsageError 2, BundleError 3, InputError 3, BackendError 5.
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
