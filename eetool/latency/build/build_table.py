"""Building of a latency table: draw probe networks, measure them, and draw the next where the table is least certain.

The times so far are written beside the output after every batch, so that an interrupted build can resume.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eetool.errors import ArtefactError, UnstableError
from eetool.latency.build.probe_measurement import NoProbeWrittenError
from eetool.latency.build.probe_selection import next_probes
from eetool.latency.build.profile_assembly import assemble_table, make_hw_profile
from eetool.latency.build.stability import is_steady
from eetool.latency.probes.probe_files import ProbeKind
from eetool.latency.probes.probe_network import ProbeNetwork
from eetool.latency.table.hw_profile import HwProfile
from eetool.progress import SILENT, Advance, Progress
from eetool.records import canonical, read_text, write_atomic
from eetool_measure.probe_timing import ProbeTimes
from eetool_runtime.records import decode, parse_json

# Measures networks of a kind: networks, kind, threads, runs, and what receives the number of measured networks.
MeasureNets = Callable[[Sequence[ProbeNetwork], ProbeKind, int, int, Advance], ProbeTimes]

PROBES, RUNS = 1000, 30  # more networks improve a table more than more calls of each
_MAX_UNSTEADY = 0.5
_MAX_FAILURES = 5  # batches without a probe that could be written


@dataclass(frozen=True)
class BuildPlan:
    """Amount to measure: `probes` networks with `runs` timed calls each, per kind of probe and thread count."""

    probes: int = PROBES
    runs: int = RUNS
    first_seed: int = 0
    kinds: tuple[ProbeKind, ...] = (ProbeKind(),)


def build_profile(
    name: str,
    threads: Sequence[int],
    plan: BuildPlan,
    partial: Path,
    measure: MeasureNets,
    progress: Progress = SILENT,
    resume: bool = False,
    accept_unstable: bool = False,
    force: bool = False,
) -> HwProfile:
    """Measure probes and assemble the hw profile of a machine.

    Args:
        name: name of the profile.
        threads: thread counts to measure.
        plan: how much to measure.
        partial: file for the times so far; removed at the end.
        measure: measures networks on the machine, such as `measure_probe_networks` with a runner.
        progress: receives the number of measured probes.
        resume: continue with the times in `partial`.
        accept_unstable: keep scattering times, and note it in the source.
        force: replace `partial` where it exists, and begin anew.

    Returns:
        The profile.

    Raises:
        UnstableError: half of the networks scattered too much, or the device was throttled.
        ArtefactError: `partial` was not written by an earlier build.
        OutputError: `partial` exists, and neither `resume` nor `force` was given.
    """
    done = _read_partial(partial) if resume and partial.exists() else []
    write = _PartialFile(partial, resume or force)
    tables, unsteady = [], 0.0
    with progress("measuring probes", plan.probes * len(threads) * len(plan.kinds)) as advance:
        for kind, count in itertools.product(plan.kinds, threads):
            times = _measure_until_planned(done, kind, count, plan, write, measure, advance)
            _check_throttling(times, accept_unstable)
            share = _unsteady_share(times)
            if share > _MAX_UNSTEADY and not accept_unstable:
                raise UnstableError(
                    f"{share:.0%} of the {kind.name} probes scattered too much with {count} threads",
                    "Stop other programs and give --resume, or keep the times with --accept-unstable.",
                )
            unsteady = max(unsteady, share)
            tables.append(assemble_table(times))
    partial.unlink(missing_ok=True)
    return make_hw_profile(name, tables, done[0].machine, unsteady if accept_unstable else None)


class _PartialFile:
    """The file of the times so far. Its first write replaces nothing unless `replace` allows it."""

    def __init__(self, path: Path, replace: bool) -> None:
        self.path = path
        self.replace = replace

    def __call__(self, done: Sequence[ProbeTimes]) -> None:
        write_atomic(self.path, canonical(done).encode(), force=self.replace)
        self.replace = True


def _measure_until_planned(
    done: list[ProbeTimes],
    kind: ProbeKind,
    threads: int,
    plan: BuildPlan,
    write: Callable[[Sequence[ProbeTimes]], None],
    measure: MeasureNets,
    advance: Advance,
) -> list[ProbeTimes]:
    """Measure batches of one kind and thread count until the plan is met; append them to `done`."""
    times = [d for d in done if (ProbeKind(d.format, d.precision), d.threads) == (kind, threads)]
    advance(sum(len(d.probes) for d in times))
    first, failures = plan.first_seed, 0
    while sum(len(d.probes) for d in times) < plan.probes:
        batch = next_probes(times, kind, plan.probes, first)
        first = batch[-1].seed + 1
        reported: list[int] = []

        def report(steps: int, reported: list[int] = reported) -> None:
            reported.append(steps)
            advance(steps)

        try:
            times.append(measure(batch, kind, threads, plan.runs, report))
        except NoProbeWrittenError:
            failures += 1
            if failures >= _MAX_FAILURES:
                raise
            continue
        done.append(times[-1])
        write(done)
        advance(len(times[-1].probes) - sum(reported))
    return times


def _check_throttling(done: Sequence[ProbeTimes], accept_unstable: bool) -> None:
    throttled = sum(bool(d.before.throttled or d.after.throttled) for d in done)
    if throttled and not accept_unstable:
        raise UnstableError(
            f"the device was throttled (heat or a weak supply) around {throttled} of {len(done)} batches",
            "Cool it, use its own power supply and build anew with --force, or give --accept-unstable.",
        )


def _unsteady_share(done: Sequence[ProbeTimes]) -> float:
    probes = [probe for d in done for probe in d.probes]
    return sum(not is_steady(probe) for probe in probes) / max(1, len(probes))


def _read_partial(path: Path) -> list[ProbeTimes]:
    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", "No interrupted build wrote this file; delete it.")

    value = parse_json(read_text(path), refuse)
    if not isinstance(value, list):
        raise refuse("expected a list")
    return [decode(ProbeTimes, item, refuse) for item in value]
