"""Builds the latency table of this machine: draws networks, has them measured, and draws the next where it errs most.

What has been measured is kept beside the output after every batch, so that an interrupted build can go on.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eetool.errors import ArtefactError, EarlyExitError, UnstableError
from eetool.latency.build.stability import is_steady
from eetool.latency.build.table_from_traces import make_table_from_traces
from eetool.latency.kernels.kernel import FP32
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork, parse_name, probe_networks
from eetool.latency.table.hw_profile import DeviceFacts, FigureSource, HwProfile
from eetool.latency.table.kernel_costs import KernelCosts
from eetool.latency.table.table import BACKENDS, LatencyTable, TableEntry
from eetool.profile.local_runner import run_measure
from eetool.progress import SILENT, Progress
from eetool.records import canonical, read_text, write_atomic
from eetool.workspace import scratch
from eetool_measure.machine import Machine
from eetool_measure.probe_timing import TIMES_SCHEMA, ProbeTime, ProbeTimes
from eetool_runtime.records import decode, parse_json


class NoProbeWrittenError(EarlyExitError):
    """None of some networks could be written, as one of twenty in int8 cannot be."""


MeasureNets = Callable[[Sequence[ProbeNetwork], ProbeKind, int, int], ProbeTimes]  # networks, kind, threads, runs
Run = Callable[[type[ProbeTimes], Path, dict[str, object]], ProbeTimes]  # as `run_measure`

SOURCE = "measured-here"
PROBES, RUNS = 1200, 30  # more networks tell more than more calls of each
_BATCH = 32  # networks that are written, measured and thrown away together
_SHARE_EVEN = 0.6  # of the networks drawn evenly; the rest are drawn where the table errs most
_CANDIDATES = 3  # networks looked at for each that is chosen
_TABLE_EVERY = 4  # batches between two tables to choose by
_MOST_UNSTEADY = 0.5
_MOST_FAILURES = 5  # batches of which nothing could be written


@dataclass(frozen=True)
class BuildPlan:
    """How much to measure: `probes` networks with `runs` timed calls each, per kind of probe and thread count."""

    probes: int = PROBES
    runs: int = RUNS
    first_seed: int = 0
    kinds: tuple[ProbeKind, ...] = (ProbeKind(),)


def build_profile(
    name: str,
    threads: Sequence[int],
    plan: BuildPlan,
    partial: Path,
    progress: Progress = SILENT,
    resume: bool = False,
    accept_unstable: bool = False,
    measure: MeasureNets | None = None,
    force: bool = False,
) -> HwProfile:
    """Measure and assemble the hw profile of this machine, or of that on which `measure` measures.

    Args:
        partial: the file that keeps what has been measured; removed at the end.
        resume: go on with what `partial` holds.
        accept_unstable: keep what scatters, and say so in the source.
        force: replace a `partial` that there is, and begin anew.

    Raises:
        UnstableError: half of the networks scattered too much, or the device was throttled.
        ArtefactError: `partial` is not what an earlier build left.
        OutputError: `partial` exists, and neither `resume` nor `force` was given.
    """
    done = _read_partial(partial) if resume and partial.exists() else []
    kept = resume or force
    measure = measure or measure_probe_networks
    tables, unsteady = [], 0.0
    with progress("measuring probes", plan.probes * len(threads) * len(plan.kinds)) as advance:
        for kind, count in itertools.product(plan.kinds, threads):
            of_count = [d for d in done if (ProbeKind(d.format, d.precision), d.threads) == (kind, count)]
            advance(sum(len(d.probes) for d in of_count))
            first, failures = plan.first_seed, 0
            while sum(len(d.probes) for d in of_count) < plan.probes:
                batch = _next(of_count, kind, plan, first)
                first = batch[-1].seed + 1
                try:
                    of_count.append(measure(batch, kind, count, plan.runs))
                except NoProbeWrittenError:
                    failures += 1
                    if failures >= _MOST_FAILURES:
                        raise
                    continue
                done.append(of_count[-1])
                write_atomic(partial, canonical(done).encode(), force=kept)
                kept = True
                advance(len(batch))
            share = _unsteady_share(of_count)
            _refuse_throttled(of_count, accept_unstable)
            if share > _MOST_UNSTEADY and not accept_unstable:
                raise UnstableError(
                    f"{share:.0%} of the {kind.name} probes scattered too much with {count} threads",
                    "Close what else runs and give --resume, or keep them with --accept-unstable.",
                )
            unsteady = max(unsteady, share)
            tables.append(assemble_table(of_count))
    partial.unlink(missing_ok=True)
    return make_hw_profile(name, tables, done[0].machine, unsteady if accept_unstable else None)


def measure_probe_networks(
    chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, run: Run = run_measure
) -> ProbeTimes:
    """Write, measure by `run`, and throw away; networks that scatter are measured once more."""
    found = _measured_once(chosen, kind, threads, runs, run)
    scattering = {probe.name for probe in found.probes if not is_steady(probe)}
    again = [net for net in chosen if net.name in scattering]
    if not again:
        return found
    second = {probe.name: probe for probe in _measured_once(again, kind, threads, runs, run).probes}
    steadier = tuple(_steadier(probe, second.get(probe.name, probe)) for probe in found.probes)
    return ProbeTimes(**{**vars(found), "probes": steadier})


def _steadier(one: ProbeTime, other: ProbeTime) -> ProbeTime:
    return min(one, other, key=lambda probe: probe.latency_ms.mad / probe.latency_ms.median)


def _measured_once(chosen: Sequence[ProbeNetwork], kind: ProbeKind, threads: int, runs: int, run: Run) -> ProbeTimes:
    with scratch() as folder:
        path = folder / "probes"
        if not write_probes(path, chosen, kind):
            raise NoProbeWrittenError(f"none of {len(chosen)} networks could be written as {kind.name}")
        return run(ProbeTimes, path, {"--threads": threads, "--runs": runs, "--min-seconds": 0})


def _next(done: Sequence[ProbeTimes], kind: ProbeKind, plan: BuildPlan, least: int) -> list[ProbeNetwork]:
    """The next networks, with seeds from `least`: first evenly, then those of which the table so far is least sure."""
    seen = [net for d in done for probe in d.probes if (net := parse_name(probe.name)) is not None]
    count = min(_BATCH, plan.probes - len(seen))
    first = max((net.seed + 1 for net in seen), default=least)
    first = max(first, least)
    if len(seen) < _SHARE_EVEN * plan.probes:
        return list(itertools.islice(probe_networks(first), count))
    usable = done[: len(done) // _TABLE_EVERY * _TABLE_EVERY] or done  # the table need not be new every time
    book = _book(kind, tuple(usable))
    candidates = list(itertools.islice(probe_networks(first), _CANDIDATES * count))
    doubts = [_doubt(net, kind, book) for net in candidates]
    return [candidates[i] for i in sorted(np.argsort(doubts)[-count:])]


_books: dict[tuple[ProbeKind, int, int], KernelCosts] = {}


def _book(kind: ProbeKind, done: tuple[ProbeTimes, ...]) -> KernelCosts:
    key = kind, done[0].threads, len(done)
    if key not in _books:
        _books.clear()
        table = make_table_from_traces(done, SOURCE, validate=False)
        _books[key] = KernelCosts(table, "this machine", BACKENDS[kind.format], kind.precision, done[0].threads)
    return _books[key]


def _doubt(net: ProbeNetwork, kind: ProbeKind, book: KernelCosts) -> float:
    """How unsure the table is of this network, as a share of its latency.

    To quantise a network takes long: of those in int8 the float one is looked at, as if all of it were.
    """
    kernels = kernels_of_probe(net, replace(kind, precision=FP32), book.composition.channel_block)
    priced = [book.latency(replace(kernel, precision=kind.precision)) for kernel in kernels]
    total = sum(p.value for p in priced)
    return sum(p.value * p.deviation for p in priced) / total


def _refuse_throttled(done: Sequence[ProbeTimes], accept_unstable: bool) -> None:
    throttled = sum(bool(d.before.throttled or d.after.throttled) for d in done)
    if throttled and not accept_unstable:
        raise UnstableError(
            f"the device was slowed down (heat or a weak supply) around {throttled} of {len(done)} batches",
            "Cool it, use its own power supply and build anew with --force, or give --accept-unstable.",
        )


def _unsteady_share(done: Sequence[ProbeTimes]) -> float:
    probes = [probe for d in done for probe in d.probes]
    return sum(not is_steady(probe) for probe in probes) / max(1, len(probes))


def assemble_table(done: Sequence[ProbeTimes]) -> LatencyTable:
    """The table of one thread count; raises UnstableError where too few probes can be used."""
    try:
        return make_table_from_traces(done, SOURCE)
    except ValueError as error:
        raise UnstableError(f"no table can be made: {error}", "Measure more probes, on a quieter machine.") from None


def assemble_tables(documents: Sequence[ProbeTimes]) -> list[LatencyTable]:
    """The tables of what devices measured: one for each format, precision and thread count, float ones first."""
    found: dict[tuple[str, str, int], list[ProbeTimes]] = {}
    for document in documents:
        found.setdefault((document.precision, document.format, document.threads), []).append(document)
    return [assemble_table(found[key]) for key in sorted(found)]


def make_hw_profile(
    name: str, tables: Sequence[LatencyTable], machine: Machine, unsteady: float | None = None
) -> HwProfile:
    """The document: what the machine says of itself, and the tables of all thread counts."""
    said = f"eetool profile --build-table on {machine.cpu or machine.architecture}, {machine.os}, "
    said += f"{machine.backend} {machine.backend_version}, {time.strftime('%Y-%m-%d', time.gmtime())}"
    if unsteady is not None:
        said += f"; unstable accepted: {unsteady:.0%} of the probes scattered"
    clock = round(machine.max_clock_mhz) if machine.max_clock_mhz else None
    processor = machine.cpu or machine.architecture
    facts = DeviceFacts(machine.board or processor, processor, machine.cores, clock, (machine.architecture,), ())
    return HwProfile(
        name=name,
        title=machine.board or processor,
        aliases=(),
        facts=facts,
        table=_joined(tables),
        compositions=tuple(composition for table in tables for composition in table.compositions),
        sources=(FigureSource(SOURCE, said, "measured by the user"),),
    )


def _joined(tables: Sequence[LatencyTable]) -> tuple[TableEntry, ...]:
    """Entries of all tables; a kernel that two tell of, as a float one in an int8 graph, has that of the first."""
    found: dict[object, TableEntry] = {}
    for entry in (entry for table in tables for entry in table.entries):
        found.setdefault((*entry.as_kernel.key, entry.backend, entry.threads), entry)
    return tuple(found.values())


def _read_partial(path: Path) -> list[ProbeTimes]:
    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", "It is not what an interrupted build leaves; delete it.")

    value = parse_json(read_text(path), refuse)
    if not isinstance(value, list):
        raise refuse("expected a list")
    return [decode(ProbeTimes, item, refuse) for item in value]


def read_times(path: Path) -> ProbeTimes:
    """What `python -m eetool_measure PROBES` printed on a device; raises ArtefactError where it is off."""

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", "It should be what `python -m eetool_measure` printed.")

    times = decode(ProbeTimes, parse_json(read_text(path), refuse), refuse)
    if times.schema != TIMES_SCHEMA:
        raise refuse(f"expected schema {TIMES_SCHEMA!r}, found {times.schema!r}")
    return times
