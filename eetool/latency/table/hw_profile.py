"""Hw profiles: what is known of a device, each number with where it came from."""

import difflib
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eetool.errors import ArtefactError, MissingError
from eetool.latency.table.table import SCOPES, Composition, LatencyTable, Regression, TableEntry, check_table
from eetool.records import read_record
from eetool_measure.records import encode

SCHEMA = "hw_profile/1"
STATES = ("idle", "stress")
POWER_PROVENANCES = ("measured", "estimated")


@dataclass(frozen=True)
class DeviceFacts:
    """The hardware, as its makers describe it. `memory_mib` lists the sizes it is sold with; a clock may be null."""

    soc: str
    cpu: str
    cores: int
    clock_mhz: int | None
    isa: tuple[str, ...]
    memory_mib: tuple[int, ...]


@dataclass(frozen=True)
class PublishedPower:
    """Watts in one `state`, of what `scope` names; `source` is the id of one of the profile's sources."""

    state: str
    power_w: float
    scope: str
    provenance: str
    source: str


@dataclass(frozen=True)
class FigureSource:
    """Where figures come from."""

    id: str
    title: str
    licence: str


@dataclass(frozen=True)
class HwProfile:
    """The document `hw_profile/1`."""

    name: str
    title: str
    aliases: tuple[str, ...]
    facts: DeviceFacts
    power: tuple[PublishedPower, ...] = ()
    table: tuple[TableEntry, ...] = ()
    regressions: tuple[Regression, ...] = ()
    compositions: tuple[Composition, ...] = ()
    sources: tuple[FigureSource, ...] = ()

    def entries(self, kind: str) -> int:
        """Number of entries of the latency table that are of this kind."""
        return sum(entry.kind == kind for entry in self.table)

    @property
    def latency(self) -> LatencyTable:
        """All that a prediction stands on."""
        ids = frozenset(source.id for source in self.sources)
        return LatencyTable(self.table, self.regressions, self.compositions, ids)


def profile_document(profile: HwProfile) -> dict[str, Any]:
    """JSON of a profile, without figures that an entry of its kind does not have, and without what is not known."""
    encoded: dict[str, Any] = encode(profile)
    for part in ("table", "regressions", "compositions"):
        encoded[part] = [{k: v for k, v in item.items() if v is not None} for item in encoded[part]]
    return encoded


def known_devices() -> tuple[HwProfile, ...]:
    """The hw profiles that come with eetool, by name."""
    with importlib.resources.as_file(importlib.resources.files("eetool") / "hw_profiles") as folder:
        return tuple(read_profile(path) for path in sorted(folder.glob("*.json")))


def find_device(name: str) -> HwProfile:
    """The hw profile called `name`, or with that alias.

    Raises:
        MissingError: there is none; the hint says what is near, and what there is.
    """
    profiles = known_devices()
    by_name = {word.lower(): profile for profile in profiles for word in (profile.name, *profile.aliases)}
    if name.lower() in by_name:
        return by_name[name.lower()]
    near = difflib.get_close_matches(name.lower(), by_name, n=3)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    there = ", ".join(["host", *(profile.name for profile in profiles)])
    raise MissingError(f"unknown device {name!r}", f"{meant}Known devices: {there}.")


def is_profile_file(device: str) -> bool:
    """Whether `device` names a hw profile on disk and not a known device."""
    return device.endswith(".json")


def load_device(device: str) -> HwProfile:
    """The hw profile that `device` names: a file that ends in .json, or a known device.

    Raises:
        ArtefactError: the file is no hw profile.
        MissingError: there is no such device.
    """
    return read_profile(Path(device)) if is_profile_file(device) else find_device(device)


def is_board(profile: HwProfile, board: str | None) -> bool:
    """Whether `board`, as a device tree names it, is this device: `Raspberry Pi 4 Model B Rev 1.4` is rpi4."""
    return board is not None and board.replace(" Plus", "+").startswith(profile.title)


def device_name_of_board(board: str | None) -> str | None:
    """Name of the device that `board`, as a device tree names it, is; None where it is none that eetool knows."""
    return next((profile.name for profile in known_devices() if is_board(profile, board)), None)


def read_profile(path: Path) -> HwProfile:
    """Read and check one hw profile; raises ArtefactError with the field that is off."""
    profile = read_record(HwProfile, path, SCHEMA)
    sources = {source.id for source in profile.sources}
    for i, power in enumerate(profile.power):
        at = f"{path}: power[{i}]"
        _one_of(power.state, STATES, f"{at}.state")
        _one_of(power.scope, SCOPES, f"{at}.scope")
        _one_of(power.provenance, POWER_PROVENANCES, f"{at}.provenance")
        _require(power.power_w > 0, f"{at}.power_w: must be positive")
        _require(power.source in sources, f"{at}.source: {power.source!r} is not among the sources")
    check_table(profile.latency, str(path))
    return profile


def _one_of(found: str, allowed: tuple[str, ...], at: str) -> None:
    _require(found in allowed, f"{at}: expected {', '.join(allowed)}, found {found!r}")


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise ArtefactError(reason)
