"""Microcontrollers by name, and how their cycles are known."""

from dataclasses import dataclass

from eetool.errors import MissingError
from eetool_runtime.near_names import near_names

SCHEME = "mcu:"


@dataclass(frozen=True)
class Microcontroller:
    """A core, or a core with a neural processor.

    Attributes:
        name: as in `--device mcu:NAME`.
        vela_accelerator: configuration of Vela that estimates its cycles; None for a core, whose cycles are known only
            where they were measured.
    """

    name: str
    vela_accelerator: str | None = None


_CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
_ACCELERATORS = ("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256")
MICROCONTROLLERS = {
    known.name: known
    for known in (*(Microcontroller(name) for name in _CORES), *(Microcontroller(name, name) for name in _ACCELERATORS))
}


def is_microcontroller(device: str) -> bool:
    """Return whether the name of a device is that of a microcontroller."""
    return device.startswith(SCHEME)


def find_microcontroller(device: str) -> Microcontroller:
    """Return the microcontroller `mcu:NAME`; raises MissingError with the known ones."""
    name = device.removeprefix(SCHEME)
    if name in MICROCONTROLLERS:
        return MICROCONTROLLERS[name]
    near = near_names(name, MICROCONTROLLERS)
    meant = f"Did you mean {SCHEME}{near[0]}? " if near else ""
    raise MissingError(f"unknown microcontroller {name!r}", f"{meant}Known: {', '.join(MICROCONTROLLERS)}.")
