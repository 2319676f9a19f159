"""Choice of a power meter by its name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Callable

from eetool_runtime.errors import UsageError
from eetool_runtime.near_names import did_you_mean

from ..errors import MeterError
from .base import BOARD, MEASURED, EnergyReading, Meter
from .hardware import open_hwmon, open_pmic, open_rapl
from .recorded import open_trace

METERS = ("pmic", "pmic:board", "hwmon[:NAME]", "rapl", "log:FILE", "replay:FILE", "package.module:factory", "none")

_SYSFS = Path("/sys")


class NullMeter:
    """Placeholder for no meter: a request for energy raises an error."""

    name, rail, provenance, interval_s = "none", BOARD, MEASURED, 0.0

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Raise MeterError."""
        raise MeterError("there is no power meter, so no energy is known", f"Known meters: {', '.join(METERS)}.")


def check_meter_name(spec: str) -> None:
    """Raise UsageError where `spec` has no form in `METERS`; no meter is opened."""
    kind, _, rest = spec.partition(":")
    has_rest = (kind in ("log", "replay") and rest) or ("." in kind and rest.isidentifier())
    if spec not in ("none", "pmic", "pmic:board", "rapl") and kind != "hwmon" and not has_rest:
        meant = did_you_mean(kind, [name.partition("[")[0].partition(":")[0] for name in METERS])
        raise UsageError(f"unknown power meter {spec!r}", f"{meant}Known meters: {', '.join(METERS)}.")


def find_meter(spec: str, root: Path = _SYSFS, command: str = "vcgencmd") -> Meter:
    """Return the meter with the name `spec`, of a form in `METERS`; `root` is the folder of sysfs.

    Raises:
        UsageError: the name is unknown, or matches several sensors.
        MeterError: the meter is absent or unreadable, or its file is not a recording.
    """
    check_meter_name(spec)
    kind, _, rest = spec.partition(":")
    if spec == "none":
        return NullMeter()
    if spec in ("pmic", "pmic:board"):
        return open_pmic(command, board=rest == "board")
    if kind == "hwmon":
        return open_hwmon(rest, root)
    if spec == "rapl":
        return open_rapl(root)
    if kind in ("log", "replay") and rest:
        return open_trace(kind, Path(rest))
    return _custom(kind, rest)


def _custom(module: str, factory: str) -> Meter:
    """Call `factory` of `module`, without arguments."""
    try:
        meter: Meter = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise MeterError(f"{module}:{factory} is not a meter: {error}") from None
    return meter
