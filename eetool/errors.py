"""Exceptions that eetool raises on purpose, with their exit codes. The root and its fields belong to the runtime.

eetool_runtime.EarlyExitError    carries `exit_code` and an optional `hint`
├── DivergedError          1     the loss of a training run stopped being a number
├── UsageError             2     the command or call itself is wrong (class of the runtime)
│   └── OutputError        2     the output exists already or cannot be written
├── ArtefactError          3     an input file is missing, damaged, or of another kind than expected
├── VerificationError      4     a parity check or a hash fails
├── MissingError           5     an extra, a backend or a device is missing
├── BudgetError            6     no candidate meets the budget
└── UnstableError          7     a measurement was rejected as unstable
"""

from eetool_runtime.errors import EarlyExitError, UsageError

__all__ = [
    "ArtefactError",
    "BudgetError",
    "DivergedError",
    "EarlyExitError",
    "MissingError",
    "OutputError",
    "UnstableError",
    "UsageError",
    "VerificationError",
]


class DivergedError(EarlyExitError):
    """Training diverged: the loss is no longer a finite number."""


class OutputError(UsageError):
    """The output exists and `--force` was not given, or it cannot be written."""


class ArtefactError(EarlyExitError):
    """An input file is missing, damaged, or of another kind than expected."""

    exit_code = 3


class MissingError(EarlyExitError):
    """An extra, a backend or a device that the command needs is missing."""

    exit_code = 5


class BudgetError(EarlyExitError):
    """No candidate meets the budget."""

    exit_code = 6


class VerificationError(EarlyExitError):
    """A graph gives different numbers than recorded at its export."""

    exit_code = 4


class UnstableError(EarlyExitError):
    """A measurement varied too much to be reported."""

    exit_code = 7
