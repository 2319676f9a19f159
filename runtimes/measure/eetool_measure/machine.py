"""Facts about this machine. A fact that cannot be read is None."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Optional

import numpy as np

from eetool_runtime.machine import ROOT, board_name, cpu_name, first_line, usable_cores
from eetool_runtime.records import dataclass

CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"


@dataclass(frozen=True)
class Machine:
    """Machine of a measurement. `cores` are those that this process may use; frequencies are of core 0."""

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


def read_machine(backend: Optional[str] = None, backend_version: Optional[str] = None, root: Path = ROOT) -> Machine:
    """Read the facts of this machine; `root` is the folder of `proc` and `sys`."""
    return Machine(
        cpu=cpu_name(root),
        board=board_name(root),
        cores=usable_cores(),
        architecture=platform.machine(),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        numpy=np.__version__,
        backend=backend,
        backend_version=backend_version,
        governor=first_line(root / CPUFREQ / "scaling_governor"),
        clock_mhz=megahertz(root / CPUFREQ / "scaling_cur_freq"),
        max_clock_mhz=megahertz(root / CPUFREQ / "cpuinfo_max_freq"),
    )


def megahertz(path: Path) -> Optional[float]:
    """Return the frequency in MHz from a kernel file in kHz."""
    text = first_line(path)
    return int(text) / 1000 if text is not None and text.isdecimal() else None
