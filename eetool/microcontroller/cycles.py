"""Cycles that a user measured on a microcontroller: a small JSON file, `mcu_cycles/1`."""

from dataclasses import dataclass
from pathlib import Path

from eetool.errors import ArtefactError
from eetool.records import read_record

SCHEMA = "mcu_cycles/1"


@dataclass(frozen=True)
class MeasuredCycles:
    """Cycles of every component of a cascade.

    Attributes:
        device: name of the microcontroller, such as `cortex-m7`.
        cycles: by component.
        conditions: board, compiler, kernels: what the figures depend on.
        clock_mhz: of the core; null where unknown.
        unsplit: cycles of the network without early exits; null where unknown.
    """

    device: str
    cycles: dict[str, float]
    conditions: str
    clock_mhz: float | None = None
    unsplit: float | None = None


def read_cycles(path: Path, device: str, components: tuple[str, ...]) -> MeasuredCycles:
    """Return measured cycles.

    Args:
        path: the file.
        device: name of the microcontroller that they must be of.
        components: names of the cascade's components, which must all be there.

    Raises:
        ArtefactError: the file is no such document, or of another device or other components.
    """
    measured = read_record(MeasuredCycles, path, SCHEMA)
    problem = None
    if measured.device != device:
        problem = f"cycles of {measured.device}, not of {device}"
    elif set(measured.cycles) != set(components):
        problem = f"cycles of {', '.join(measured.cycles)}; the bundle's components are {', '.join(components)}"
    elif any(value <= 0 for value in measured.cycles.values()):
        problem = "cycles must be positive"
    elif min(measured.clock_mhz or 1, measured.unsplit or 1) <= 0:
        problem = "clock_mhz and unsplit must be positive or null"
    if problem is not None:
        raise ArtefactError(f"{path}: {problem}", "Measure every component of this bundle on that microcontroller.")
    return measured
