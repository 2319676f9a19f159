"""Assembly of a hw profile from measured probe times."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eetool.errors import ArtefactError, UnstableError
from eetool.latency.build.reference_selection import choose_references
from eetool.latency.build.table_from_traces import make_table_from_traces
from eetool.latency.table.hw_profile import DeviceFacts, FigureSource, HwProfile
from eetool.latency.table.table import LatencyTable, TableEntry
from eetool.records import read_text
from eetool_measure.machine import Machine
from eetool_measure.probe_timing import TIMES_SCHEMA, ProbeTimes
from eetool_runtime.records import decode, parse_json

SOURCE = "measured-here"


def read_times(path: Path) -> ProbeTimes:
    """Read the output of `python -m eetool_measure PROBES` on a device.

    Raises:
        ArtefactError: the file cannot be read, or is another document.
    """

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", "It should be the output of `python -m eetool_measure`.")

    times = decode(ProbeTimes, parse_json(read_text(path), refuse), refuse)
    if times.schema != TIMES_SCHEMA:
        raise refuse(f"expected schema {TIMES_SCHEMA!r}, found {times.schema!r}")
    return times


def assemble_table(done: Sequence[ProbeTimes]) -> LatencyTable:
    """Make the table of one format, precision and thread count, with its reference probes.

    Raises:
        UnstableError: there are too few usable probes.
    """
    try:
        table = make_table_from_traces(done, SOURCE)
    except ValueError as error:
        raise UnstableError(f"no table can be made: {error}", "Measure more probes, on a quieter machine.") from None
    return replace(table, references=choose_references(done, table, SOURCE))


def assemble_tables(documents: Sequence[ProbeTimes]) -> list[LatencyTable]:
    """Make one table for each format, precision and thread count among the documents, float tables first.

    Raises:
        UnstableError: there are too few usable probes.
    """
    groups: dict[tuple[str, str, int], list[ProbeTimes]] = {}
    for document in documents:
        groups.setdefault((document.precision, document.format, document.threads), []).append(document)
    return [assemble_table(groups[key]) for key in sorted(groups)]


def make_hw_profile(
    name: str, tables: Sequence[LatencyTable], machine: Machine, unsteady: float | None = None
) -> HwProfile:
    """Make the profile of a machine from its tables.

    Args:
        name: name of the profile.
        tables: tables of all formats, precisions and thread counts.
        machine: the machine that measured.
        unsteady: share of scattering probes, if they were accepted.

    Returns:
        The profile.
    """
    title = f"eetool table build on {machine.cpu or machine.architecture}, {machine.os}, "
    title += f"{machine.backend} {machine.backend_version}, {time.strftime('%Y-%m-%d', time.gmtime())}"
    if unsteady is not None:
        title += f"; unstable accepted: {unsteady:.0%} of the probes scattered"
    clock = round(machine.max_clock_mhz) if machine.max_clock_mhz else None
    processor = machine.cpu or machine.architecture
    facts = DeviceFacts(machine.board or processor, processor, machine.cores, clock, (machine.architecture,), ())
    return HwProfile(
        name=name,
        title=machine.board or processor,
        aliases=(),
        facts=facts,
        table=_join_entries(tables),
        compositions=tuple(composition for table in tables for composition in table.compositions),
        sources=(FigureSource(SOURCE, title, "measured by the user"),),
        references=tuple(references for table in tables for references in table.references),
    )


def _join_entries(tables: Sequence[LatencyTable]) -> tuple[TableEntry, ...]:
    """Return the entries of all tables; of several for one kernel the first, such as a float one of an int8 graph."""
    entries: dict[object, TableEntry] = {}
    for entry in (entry for table in tables for entry in table.entries):
        entries.setdefault((*entry.as_kernel.key, entry.backend, entry.threads), entry)
    return tuple(entries.values())
