"""State of the machine during a measurement. A value that cannot be read is None."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from eetool_runtime.machine import ROOT, first_line
from eetool_runtime.records import dataclass

from .machine import CPUFREQ, megahertz

_TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"  # in thousandths of a degree
_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"  # of a Raspberry Pi: flags in hexadecimal
_NOW = 0xF  # under-voltage, capped clock, throttled, soft temperature limit; the same 16 bits up: since boot


@dataclass(frozen=True)
class MachineState:
    """Values that change during a measurement. `throttled` is true while the board limits its clock."""

    governor: Optional[str]
    clock_mhz: Optional[float]
    temperature_c: Optional[float]
    throttled: Optional[bool]


def read_machine_state(root: Path = ROOT) -> MachineState:
    """Read the current state of this machine; `root` is the folder of `sys`."""
    degrees, flags = first_line(root / _TEMPERATURE), first_line(root / _THROTTLED)
    return MachineState(
        governor=first_line(root / CPUFREQ / "scaling_governor"),
        clock_mhz=megahertz(root / CPUFREQ / "scaling_cur_freq"),
        temperature_c=int(degrees) / 1000 if degrees is not None and degrees.lstrip("-").isdecimal() else None,
        throttled=bool(int(flags, 16) & _NOW) if flags is not None and _is_hexadecimal(flags) else None,
    )


def _is_hexadecimal(text: str) -> bool:
    return re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text) is not None
