"""Exceptions of measuring, in addition to those of `eetool_runtime`."""

from __future__ import annotations

from eetool_runtime.errors import EarlyExitError


class MeterError(EarlyExitError):
    """A power meter that is missing or cannot be read."""

    exit_code = 5
