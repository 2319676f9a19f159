"""The little that a model has to know of the machine. What cannot be read is None, never a guess."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Optional

ROOT = Path("/")


def board_name(root: Path = ROOT) -> Optional[str]:
    """What the device tree says, such as `Raspberry Pi 4 Model B Rev 1.4`."""
    return first_line(root / "proc/device-tree/model")


def usable_cores() -> int:
    """Cores that this process may run on, which a container or taskset can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resident_bytes(root: Path = ROOT) -> Optional[int]:
    """Memory of this process that lies in RAM, shared pages included; None where `/proc` does not say."""
    said = first_line(root / "proc/self/statm")  # in pages: size, resident, ...
    return int(said.split()[1]) * os.sysconf("SC_PAGE_SIZE") if said else None


def cpu_name(root: Path = ROOT) -> Optional[str]:
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


def first_line(path: Path) -> Optional[str]:
    """What a file of the kernel says first; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.strip("\0\n ").split("\n")[0] or None
