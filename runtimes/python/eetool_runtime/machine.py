"""What this machine is, as far as it can be read. What cannot be read is null, never a guess."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Optional

import numpy as np

from .frozen import dataclass

_ROOT = Path("/")
_CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
_TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"  # in thousandths of a degree
_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"  # of a Raspberry Pi: flags in hexadecimal
_NOW = 0xF  # under-voltage, capped clock, throttled, soft temperature limit; the same 16 bits up: since it was started


@dataclass(frozen=True)
class Machine:
    """Facts beside every measured number. `cores` are those this process may use; frequencies are of core 0."""

    cpu: Optional[str]
    board: Optional[str]
    cores: int
    architecture: str
    os: str
    python: str
    numpy: str
    backend: Optional[str]
    backend_version: Optional[str]
    governor: Optional[str]
    clock_mhz: Optional[float]
    max_clock_mhz: Optional[float]


@dataclass(frozen=True)
class Condition:
    """What changes while one measures. `throttled` is true where the board says that it is slowed down right now."""

    governor: Optional[str]
    clock_mhz: Optional[float]
    temperature_c: Optional[float]
    throttled: Optional[bool]


def read_condition(root: Path = _ROOT) -> Condition:
    """The state that this machine is in now; `root` is where `sys` lies."""
    degrees, flags = _first_line(root / _TEMPERATURE), _first_line(root / _THROTTLED)
    return Condition(
        governor=_first_line(root / _CPUFREQ / "scaling_governor"),
        clock_mhz=_megahertz(root / _CPUFREQ / "scaling_cur_freq"),
        temperature_c=int(degrees) / 1000 if degrees is not None and degrees.lstrip("-").isdecimal() else None,
        throttled=bool(int(flags, 16) & _NOW) if flags is not None and _is_hexadecimal(flags) else None,
    )


def _is_hexadecimal(text: str) -> bool:
    return re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text) is not None


def read_machine(backend: Optional[str] = None, backend_version: Optional[str] = None, root: Path = _ROOT) -> Machine:
    """The machine this runs on; `root` is where `proc` and `sys` lie."""
    return Machine(
        cpu=_cpu_model(root),
        board=_first_line(root / "proc/device-tree/model"),
        cores=usable_cores(),
        architecture=platform.machine(),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        numpy=np.__version__,
        backend=backend,
        backend_version=backend_version,
        governor=_first_line(root / _CPUFREQ / "scaling_governor"),
        clock_mhz=_megahertz(root / _CPUFREQ / "scaling_cur_freq"),
        max_clock_mhz=_megahertz(root / _CPUFREQ / "cpuinfo_max_freq"),
    )


def usable_cores() -> int:
    """Cores that this process may run on, which a container or taskset can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_bytes(root: Path = _ROOT) -> Optional[int]:
    """Memory of this process that lies in RAM, shared pages included; None where `/proc` does not say."""
    said = _first_line(root / "proc/self/statm")  # in pages: size, resident, ...
    return int(said.split()[1]) * os.sysconf("SC_PAGE_SIZE") if said else None


def _cpu_model(root: Path) -> Optional[str]:
    """The processor's name from `/proc/cpuinfo`: `model name`, or on 32-bit ARM `Hardware`."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    said: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        said.setdefault(key.strip(), value.strip())
    return said.get("model name") or said.get("Hardware") or None


def _megahertz(path: Path) -> Optional[float]:
    """A file of the kernel that holds kHz, in MHz."""
    text = _first_line(path)
    return int(text) / 1000 if text is not None and text.isdecimal() else None


def _first_line(path: Path) -> Optional[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.strip("\0\n ").split("\n")[0] or None
