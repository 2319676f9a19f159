"""Hw profiles: facts, published power and latency tables of devices, each figure with its source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eetool.errors import MissingError
from eetool.latency.table.table import SCOPES, Composition, LatencyTable, ReferenceSet, Regression, TableEntry
from eetool.latency.table.validation import check_table, require, require_one_of
from eetool.records import read_record
from eetool_measure.records import encode
from eetool_runtime.near_names import did_you_mean

SCHEMA = "hw_profile/1"
STATES = ("idle", "stress")
POWER_PROVENANCES = ("measured", "estimated")


@dataclass(frozen=True)
class DeviceFacts:
    """Hardware of a device as its maker describes it. `memory_mib` lists all sizes sold; the clock may be null."""

    soc: str
    cpu: str
    cores: int
    clock_mhz: int | None
    isa: tuple[str, ...]
    memory_mib: tuple[int, ...]


@dataclass(frozen=True)
class PublishedPower:
    """Power in one `state`, for one `scope`; `source` is the id of one of the profile's sources."""

    state: str
    power_w: float
    scope: str
    provenance: str
    source: str


@dataclass(frozen=True)
class FigureSource:
    """Source of figures, with its licence."""

    id: str
    title: str
    licence: str


@dataclass(frozen=True)
class HwProfile:
    """Document `hw_profile/1`."""

    name: str
    title: str
    aliases: tuple[str, ...]
    facts: DeviceFacts
    power: tuple[PublishedPower, ...] = ()
    table: tuple[TableEntry, ...] = ()
    regressions: tuple[Regression, ...] = ()
    compositions: tuple[Composition, ...] = ()
    sources: tuple[FigureSource, ...] = ()
    references: tuple[ReferenceSet, ...] = ()

    def entries(self, kind: str) -> int:
        """Return the number of table entries of this kind, `measured` or `fitted`."""
        return sum(entry.kind == kind for entry in self.table)

    @property
    def latency(self) -> LatencyTable:
        """Latency table of the device."""
        ids = frozenset(source.id for source in self.sources)
        return LatencyTable(self.table, self.regressions, self.compositions, ids, self.references)


def profile_document(profile: HwProfile) -> dict[str, Any]:
    """Return the JSON document of a profile, without fields that are null."""
    encoded: dict[str, Any] = encode(profile)
    for part in ("table", "regressions", "compositions"):
        encoded[part] = [{k: v for k, v in item.items() if v is not None} for item in encoded[part]]
    if not profile.references:
        del encoded["references"]
    return encoded


def profiles_folder() -> Path:
    """Return the folder of the hw profiles that come with eetool.

    A wheel holds them as package data. In a checkout, and so in an editable install, they are at the top level.
    """
    package = Path(__file__).parents[2]
    installed = package / "hw_profiles"
    return installed if installed.is_dir() else package.parent / "hw_profiles"


def known_devices() -> tuple[HwProfile, ...]:
    """Return the hw profiles that come with eetool, sorted by name."""
    return tuple(read_profile(path) for path in sorted(profiles_folder().glob("*.json")))


def find_device(name: str) -> HwProfile:
    """Return the hw profile with this name or alias.

    Raises:
        MissingError: there is none; the hint lists similar names and all devices.
    """
    profiles = known_devices()
    by_name = {word.lower(): profile for profile in profiles for word in (profile.name, *profile.aliases)}
    if name.lower() in by_name:
        return by_name[name.lower()]
    there = ", ".join(["host", *(profile.name for profile in profiles)])
    raise MissingError(f"unknown device {name!r}", f"{did_you_mean(name, by_name)}Known devices: {there}.")


def is_profile_file(device: str) -> bool:
    """Return whether `device` is the path of a hw profile, rather than the name of a known device."""
    return device.endswith(".json")


def load_device(device: str) -> HwProfile:
    """Load the hw profile of a device.

    Args:
        device: path of a .json file, or name or alias of a known device.

    Raises:
        ArtefactError: the file is not a valid hw profile.
        MissingError: there is no such device.
    """
    return read_profile(Path(device)) if is_profile_file(device) else find_device(device)


def is_board(profile: HwProfile, board: str | None) -> bool:
    """Return whether `board`, a device tree model such as `Raspberry Pi 4 Model B Rev 1.4`, is this device."""
    return board is not None and board.replace(" Plus", "+").startswith(profile.title)


def device_name_of_board(board: str | None) -> str | None:
    """Return the name of the known device with the device tree model `board`; None if there is none."""
    return next((profile.name for profile in known_devices() if is_board(profile, board)), None)


def read_profile(path: Path) -> HwProfile:
    """Read and check one hw profile.

    Raises:
        ArtefactError: the file cannot be read, or a field is wrong; the message names it.
    """
    profile = read_record(HwProfile, path, SCHEMA)
    sources = {source.id for source in profile.sources}
    for i, power in enumerate(profile.power):
        at = f"{path}: power[{i}]"
        require_one_of(power.state, STATES, f"{at}.state")
        require_one_of(power.scope, SCOPES, f"{at}.scope")
        require_one_of(power.provenance, POWER_PROVENANCES, f"{at}.provenance")
        require(power.power_w > 0, f"{at}.power_w: must be positive")
        require(power.source in sources, f"{at}.source: {power.source!r} is not among the sources")
    check_table(profile.latency, str(path))
    return profile
