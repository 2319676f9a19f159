"""Everything eetool raises on purpose, as a tree (the root and its fields are the runtime's):

eetool_runtime.EarlyExitError    carries `exit_code` and an optional `hint`
├── DivergedError          1     the loss of a training run stopped being a number
├── UsageError             2     the command or call itself is off (the runtime's own class)
│   └── OutputError        2     the output exists already or cannot be written
├── ArtefactError          3     an input file is missing, damaged, or not what it should be
├── VerificationError      4     parity or a hash does not hold
├── MissingError           5     an extra, a backend or a device is not there
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
    """The loss of a training run stopped being a number."""


class OutputError(UsageError):
    """The output exists and `--force` was not given, or the place cannot be written to."""


class ArtefactError(EarlyExitError):
    """An input file is missing, damaged, or something else than was asked for."""

    exit_code = 3


class MissingError(EarlyExitError):
    """An extra, a backend or a device that the command needs is not there."""

    exit_code = 5


class BudgetError(EarlyExitError):
    """No candidate meets the budget."""

    exit_code = 6


class VerificationError(EarlyExitError):
    """A graph gives other numbers than those recorded when it was exported."""

    exit_code = 4


class UnstableError(EarlyExitError):
    """A measurement scattered too much to be believed."""

    exit_code = 7
