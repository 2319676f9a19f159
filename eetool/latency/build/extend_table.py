"""Addition of measured conditions (backend, precision, thread count) to the hw profile of the same device."""

from dataclasses import replace
from typing import TypeVar

from eetool.errors import ArtefactError, OutputError
from eetool.latency.table.hw_profile import FigureSource, HwProfile, is_board
from eetool.latency.table.table import Composition, ReferenceSet, Regression, TableEntry
from eetool.latency.table.validation import check_table

Conditions = tuple[str, str, int]  # backend, precision, threads
Item = TypeVar("Item", TableEntry, Regression, Composition, ReferenceSet)


def check_extension(profile: HwProfile, wanted: set[Conditions], replaces: bool) -> None:
    """Check, before anything is measured, that `wanted` conditions may be added to `profile`.

    Raises:
        OutputError: the profile has a table for one of them, and nothing may be replaced.
    """
    present = sorted(wanted & {_conditions(composition) for composition in profile.compositions})
    if present and not replaces:
        backend, precision, threads = present[0]
        raise OutputError(
            f"{profile.name} has a table for {backend} {precision}, threads {threads} already",
            "Give --force to replace it, or another --format, --precision or --threads.",
        )


def extend_hw_profile(profile: HwProfile, added: HwProfile) -> HwProfile:
    """Return `profile` with the tables of `added`, which replace those for the same conditions.

    Facts, power and names stay those of `profile`. Of two entries for one kernel, as of a float kernel in an int8
    graph, that of `profile` is kept unless its conditions are replaced.

    Raises:
        ArtefactError: `added` was measured on another device.
    """
    _check_same_device(profile, added)
    replaced = {_conditions(composition) for composition in added.compositions}
    source_ids = _new_source_ids(profile.sources, added.sources)
    entries = {_entry_key(e): e for e in profile.table if _conditions(e) not in replaced}
    for entry in _renamed(added.table, source_ids):
        entries.setdefault(_entry_key(entry), entry)
    regressions = [r for r in profile.regressions if _conditions(r) not in replaced]
    compositions = [c for c in profile.compositions if _conditions(c) not in replaced]
    references = [r for r in profile.references if _conditions(r) not in replaced]
    extended = replace(
        profile,
        table=tuple(entries.values()),
        regressions=(*regressions, *_renamed(added.regressions, source_ids)),
        compositions=(*compositions, *_renamed(added.compositions, source_ids)),
        sources=(*profile.sources, *(replace(source, id=source_ids[source.id]) for source in added.sources)),
        references=(*references, *_renamed(added.references, source_ids)),
    )
    check_table(extended.latency, profile.name)
    return extended


def _check_same_device(profile: HwProfile, added: HwProfile) -> None:
    same = profile.facts.soc == added.facts.soc and profile.facts.cpu == added.facts.cpu
    if not same and not is_board(profile, added.title):
        raise ArtefactError(
            f"{profile.name} is the profile of {profile.title}, and the new times are of {added.title}",
            "A table holds one device: build another one with `eetool table build`.",
        )


def _new_source_ids(known: tuple[FigureSource, ...], added: tuple[FigureSource, ...]) -> dict[str, str]:
    """Map the ids of `added` to ids that `known` does not use."""
    used, result = {source.id for source in known}, {}
    for source in added:
        new, number = source.id, 2
        while new in used:
            new, number = f"{source.id}-{number}", number + 1
        used.add(new)
        result[source.id] = new
    return result


def _renamed(items: tuple[Item, ...], source_ids: dict[str, str]) -> list[Item]:
    return [replace(item, source=source_ids[item.source]) for item in items]


def _entry_key(entry: TableEntry) -> tuple[object, ...]:
    return (*entry.as_kernel.key, entry.backend, entry.threads)


def _conditions(item: TableEntry | Regression | Composition | ReferenceSet) -> Conditions:
    return item.backend, item.precision, item.threads
