"""`eetool profile --device mcu:…`: flash, RAM and cycles of a microcontroller, and limits for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table
from eetool.cli.progress_bars import TerminalProgress

if TYPE_CHECKING:
    from eetool.microcontroller.profile import McuProfile

_KIB = 1024
_UNKNOWN = "–"


@dataclass(frozen=True)
class McuRequest:
    """Options of `eetool profile` for microcontrollers."""

    input: Path | None
    device: str
    variant: str
    cycles: Path | None
    max_flash_kb: float | None
    max_ram_kb: float | None

    def is_used(self) -> bool:
        """Return whether an option was given that only microcontrollers have."""
        return any(option is not None for option in (self.cycles, self.max_flash_kb, self.max_ram_kb))


def mcu_profile_result(request: McuRequest) -> CommandResult:
    """Return the profile; where it exceeds a limit, that is the result's problem, with exit code 6."""
    from eetool.errors import ArtefactError, UsageError
    from eetool.microcontroller.cascade import VARIANT
    from eetool.microcontroller.devices import find_microcontroller
    from eetool.microcontroller.footprint import budget_error
    from eetool.microcontroller.profile import SCHEMA, profile_microcontroller
    from eetool_runtime import open_bundle

    device = find_microcontroller(request.device)
    if request.input is None:
        raise UsageError(f"what is to run on {device.name}?", "Give a bundle of `eetool export --target mcu`.")
    if request.variant not in ("auto", VARIANT):
        raise UsageError(
            f"{request.variant} does not run on microcontrollers", f"Leave out --variant, or give {VARIANT}."
        )
    if request.input.is_file():
        raise ArtefactError(f"{request.input}: not a bundle", "`eetool export MODEL --target mcu` makes one.")
    bundle = open_bundle(request.input)
    profile, memory = profile_microcontroller(bundle, device, request.cycles, TerminalProgress())
    problem = budget_error(memory, request.max_flash_kb, request.max_ram_kb)
    return CommandResult(SCHEMA, vars(profile), mcu_profile_text(profile), problem)


def mcu_profile_text(p: "McuProfile") -> list[Any]:
    """Return lines and tables that show a profile."""
    memory = p.memory
    how = "measured by TFLM on this machine" if p.memory_provenance == "measured" else "working memory as Vela tells"
    lines = [
        f"{p.bundle.name} {p.variant} on {p.device}, batch 1",
        f"flash: {_kib(memory.graph_bytes)} KiB of graphs",
        f"RAM: {_kib(memory.arena_bytes)} KiB of arena = {_kib(memory.working_bytes)} KiB of working memory "
        f"+ {_kib(memory.persistent_bytes)} KiB of records; {how}",
        f"not included: {', '.join(p.not_included)}",
        *_unsplit_lines(p),
        _components_table(p),
    ]
    left = sorted({op for c in p.components for op in c.core_operators})
    if left:
        lines.append(f"on the core, and in no cycles: {', '.join(left)}")
    if p.cycles_provenance is None:
        return [*lines, "cycles: not known; --cycles FILE takes what you measured on the device"]
    at = "" if p.clock_mhz is None else f", {p.clock_mhz:g} MHz"
    return [*lines, f"Cycles, {p.cycles_provenance}: {p.cycles_source}{at}", _points_table(p)]


def _unsplit_lines(p: "McuProfile") -> list[str]:
    if p.unsplit is None:
        return []
    ratio = p.memory.arena_bytes / p.unsplit.arena_bytes
    cycles = "" if p.unsplit.cycles is None else f", {p.unsplit.cycles:,.0f} cycles"
    return [
        f"without early exits: {_kib(p.unsplit.graph_bytes)} KiB of flash, {_kib(p.unsplit.arena_bytes)} KiB of arena"
        f"{cycles}; the cascade's arena is {ratio:.2f} of that"
    ]


def _components_table(p: "McuProfile") -> Any:
    rows = [
        (c.name, _kib(c.graph_bytes), _kib(c.working_bytes), _kib(c.persistent_bytes), _count(c.cycles))
        for c in p.components
    ]
    right = ("flash KiB", "working KiB", "records KiB", "cycles")
    return table({"component": "left", **dict.fromkeys(right, "right")}, rows)


def _points_table(p: "McuProfile") -> Any:
    exits = len(p.points[0].cycles_by_exit)
    columns = ["mean", *(f"exit {i}" for i in range(exits))]
    rows = [(point.name, _count(point.mean_cycles), *map(_count, point.cycles_by_exit)) for point in p.points]
    return table({"operating point": "left", **dict.fromkeys(columns, "right")}, rows)


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / _KIB:.1f}"


def _count(cycles: float | None) -> str:
    return _UNKNOWN if cycles is None else f"{cycles:,.0f}"
