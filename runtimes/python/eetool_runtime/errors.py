"""Exceptions of this package and the exit codes of the `eetool` command.

EarlyExitError 1, and its subclasses UsageError 2, BundleError 3, InputError 3, BackendError 5; NotFiniteError 3 is an
InputError.
"""

from __future__ import annotations

from typing import Optional


class EarlyExitError(Exception):
    """Base class of all errors.

    Attributes:
        message: what failed.
        hint: how to fix it, or None.
        exit_code: of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EarlyExitError):
    """An invalid call: a name or option that does not exist."""

    exit_code = 2


class BundleError(EarlyExitError):
    """A bundle that cannot be read or does not match its manifest."""

    exit_code = 3


class InputError(EarlyExitError):
    """An input array with a wrong name, shape or dtype, or with values that are not finite."""

    exit_code = 3


class NotFiniteError(InputError):
    """An input array of the right name, shape and dtype that holds NaN or infinity."""


class BackendError(EarlyExitError):
    """A backend that is missing, or fails to open or run a graph as requested."""

    exit_code = 5
