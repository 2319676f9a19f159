"""What measuring raises beside the errors of `eetool_runtime`, and under the same root."""

from __future__ import annotations

from eetool_runtime.errors import EarlyExitError


class MeterError(EarlyExitError):
    """There is no power meter, or it cannot be read: no energy is known, and none is made up."""

    exit_code = 5
