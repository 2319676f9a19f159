"""`eetool profile --build-table`: measure a latency table, or make one of what another device measured."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.cli.output import CommandResult, TerminalProgress

if TYPE_CHECKING:
    from eetool.latency.build.build_table import MeasureNets
    from eetool.latency.probes.probe_files import ProbeKind
    from eetool.latency.table.hw_profile import HwProfile


def build_table_result(
    device: str,
    threads: tuple[int, ...],
    probes: int,
    runs: int | None,
    write_probes: Path | None,
    times: tuple[Path, ...],
    output: Path | None,
    resume: bool,
    accept_unstable: bool,
    ssh_options: tuple[str, ...] = (),
    python: str = "python3",
    formats: tuple[str, ...] = (),
    precisions: tuple[str, ...] = (),
    force: bool = False,
) -> CommandResult:
    """Write probes, assemble what a device measured, or measure here; `device` names the profile."""
    from eetool.latency.build import build_table, profile_assembly
    from eetool.latency.probes.probe_files import probe_kinds

    kinds = probe_kinds(formats, precisions)
    if write_probes is not None:
        return _written(write_probes, kinds, probes, runs or build_table.RUNS, force)
    assert output is not None  # the verb saw to it
    if times:
        documents = [profile_assembly.read_times(path) for path in times]
        made = profile_assembly.make_hw_profile(
            _name(device, output), profile_assembly.assemble_tables(documents), documents[0].machine
        )
    else:
        plan = build_table.BuildPlan(probes, runs or build_table.RUNS, kinds=tuple(kinds))
        kept = output.with_name(f"{output.name}.partial")
        _refuse_kept(kept, resume or force)
        counts = sorted(set(threads)) or [1]
        with _measuring(device, ssh_options, python) as measure:
            made = build_table.build_profile(
                _name("host", output), counts, plan, kept, measure, TerminalProgress(), resume, accept_unstable, force
            )
    return _answer(made, output)


def _refuse_kept(partial: Path, wanted: bool) -> None:
    from eetool.errors import OutputError
    from eetool.workspace import clear_leftovers

    clear_leftovers(partial)
    if partial.exists() and not wanted:
        raise OutputError(
            f"{partial} holds an interrupted measurement", "--resume goes on with it, --force starts anew."
        )


def _written(folder: Path, kinds: "Sequence[ProbeKind]", probes: int, runs: int, force: bool) -> CommandResult:
    """Probes of one kind in `folder`, of several each in a folder of its own inside."""
    from itertools import islice

    from eetool.latency.probes.probe_files import write_probes
    from eetool.latency.probes.probe_network import probe_networks
    from eetool.records import check_output, write_directory

    check_output(folder, force, directory=True)
    chosen, lines = list(islice(probe_networks(), probes)), []
    inner = [kind.name.replace("/", "-") for kind in kinds]
    if len(kinds) == 1:
        counts = {kinds[0].name: len(write_probes(folder, chosen, kinds[0], force))}
    else:
        with write_directory(folder, force) as made:
            counts = {k.name: len(write_probes(made / i, chosen, k)) for k, i in zip(kinds, inner, strict=True)}
    for kind, name in zip(kinds, inner, strict=True):
        inside = folder if len(kinds) == 1 else folder / name
        lines.append(
            f"{counts[kind.name]} {kind.name} probes in {inside}: copy the folder to the device, and run there"
        )
        lines.append(f"    python -m eetool_measure {inside.name} --runs {runs} > times-{name}.json")
    return CommandResult("probes/1", {"probes": counts}, lines)


@contextmanager
def _measuring(device: str, ssh_options: tuple[str, ...], python: str) -> "Iterator[MeasureNets]":
    """How probes are measured: on this machine, or on one that ssh reaches."""
    from eetool.errors import UsageError
    from eetool.latency.build.probe_measurement import measure_probe_networks

    if device.startswith("ssh://"):
        from eetool.profile.ssh_runner import lease_device

        with lease_device(device, None, ssh_options, python) as remote:
            yield partial(measure_probe_networks, run=remote.run_measure)
    elif device == "host":
        from eetool.profile.local_runner import run_measure

        yield partial(measure_probe_networks, run=run_measure)
    else:
        raise UsageError(
            f"--build-table measures this machine, which is not to be called {device}",
            "Leave out --device, or give ssh://user@host; or --write-probes DIR, measure them there, and --times.",
        )


def _answer(made: "HwProfile", output: Path) -> CommandResult:
    from eetool.latency.table.hw_profile import SCHEMA, profile_document

    lines = [f"{output}: {len(made.table)} entries of {made.title}"]
    lines += [
        f"{c.backend} {c.precision}, {c.threads} threads: dispatch {c.dispatch_ms * 1e3:.1f} µs, whole probes left out "
        f"of the table predicted within {c.cv_error:.1%} (median of {c.n})"
        for c in made.compositions
    ]
    return CommandResult(SCHEMA, profile_document(made), lines)


def _name(device: str, output: Path) -> str:
    """A name that hw profiles may have: that of the device, or of the file."""
    plain = re.sub(r"[^a-z0-9-]+", "-", (output.stem if device == "host" else device).lower()).strip("-")
    return plain[:64] or "host"
