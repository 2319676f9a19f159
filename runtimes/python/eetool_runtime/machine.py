"""Facts about the machine that the runtime needs. A fact that cannot be read is None."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Optional

ROOT = Path("/")


def board_name(root: Path = ROOT) -> Optional[str]:
    """Return the board name of the device tree, such as `Raspberry Pi 4 Model B Rev 1.4`."""
    return first_line(root / "proc/device-tree/model")


def usable_cores() -> int:
    """Return the number of cores that this process may run on; a container or taskset can lower it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_bytes(root: Path = ROOT) -> Optional[int]:
    """Return the resident memory of this process, shared pages included; None without `/proc`."""
    sizes = first_line(root / "proc/self/statm")  # in pages: size, resident, ...
    return int(sizes.split()[1]) * os.sysconf("SC_PAGE_SIZE") if sizes else None


def cpu_name(root: Path = ROOT) -> Optional[str]:
    """Return the processor's name from `/proc/cpuinfo`: `model name`, or on 32-bit Arm `Hardware`."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields.get("model name") or fields.get("Hardware") or None


def first_line(path: Path) -> Optional[str]:
    """Return the first line of a kernel file; None where the file is absent or empty."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.strip("\0\n ").split("\n")[0] or None
