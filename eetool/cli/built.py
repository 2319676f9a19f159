"""`eetool profile --build-table`: measure a latency table, or make one of what another device measured."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.cli.console import Answer, TerminalProgress

if TYPE_CHECKING:
    from eetool.profile.build import MeasureNets
    from eetool.profile.device import HwProfile
    from eetool.profile.probe_graphs import ProbeKind


def build_answer(
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
) -> Answer:
    """Write probes, assemble what a device measured, or measure here; `device` names the profile."""
    from eetool.profile import build
    from eetool.profile.probe_graphs import probe_kinds

    kinds = probe_kinds(formats, precisions)
    if write_probes is not None:
        return _written(write_probes, kinds, probes, runs or build.RUNS)
    assert output is not None  # the verb saw to it
    if times:
        documents = [build.read_times(path) for path in times]
        made = build.profile_of(_name(device, output), build.tables_of(documents), documents[0].machine)
    else:
        plan = build.Plan(probes, runs or build.RUNS, kinds=tuple(kinds))
        kept = output.with_name(f"{output.name}.partial")
        counts = sorted(set(threads)) or [1]
        with _measuring(device, ssh_options, python) as measure:
            made = build.build_profile(
                _name("host", output), counts, plan, kept, TerminalProgress(), resume, accept_unstable, measure
            )
    return _answer(made, output)


def _written(folder: Path, kinds: "Sequence[ProbeKind]", probes: int, runs: int) -> Answer:
    """Probes of one kind in `folder`, of several each in a folder of its own inside."""
    from itertools import islice

    from eetool.profile.probe_graphs import write_probes
    from eetool.profile.probes import nets

    chosen, counts, lines = list(islice(nets(), probes)), {}, []
    if len(kinds) > 1:
        folder.mkdir(parents=True)
    for kind in kinds:
        inside = folder if len(kinds) == 1 else folder / kind.name.replace("/", "-")
        counts[kind.name] = len(write_probes(inside, chosen, kind))
        lines.append(
            f"{counts[kind.name]} {kind.name} probes in {inside}: copy the folder to the device, and run there"
        )
        lines.append(
            f"    python -m eetool_measure {inside.name} --runs {runs} > times-{kind.name.replace('/', '-')}.json"
        )
    return Answer("probes/1", {"probes": counts}, lines)


@contextmanager
def _measuring(device: str, ssh_options: tuple[str, ...], python: str) -> "Iterator[MeasureNets]":
    """How probes are measured: on this machine, or on one that ssh reaches."""
    from eetool.errors import UsageError
    from eetool.profile.build import measure_nets

    if device.startswith("ssh://"):
        from eetool.profile.remote import lease

        with lease(device, None, ssh_options, python) as remote:
            yield partial(measure_nets, run=remote.run_measure)
    elif device == "host":
        yield measure_nets
    else:
        raise UsageError(
            f"--build-table measures this machine, which is not to be called {device}",
            "Leave out --device, or give ssh://user@host; or --write-probes DIR, measure them there, and --times.",
        )


def _answer(made: "HwProfile", output: Path) -> Answer:
    from eetool.profile.device import SCHEMA, document

    lines = [f"{output}: {len(made.table)} entries of {made.title}"]
    lines += [
        f"{c.backend} {c.precision}, {c.threads} threads: dispatch {c.dispatch_ms * 1e3:.1f} µs, whole probes left out "
        f"of the table predicted within {c.cv_error:.1%} (median of {c.n})"
        for c in made.compositions
    ]
    return Answer(SCHEMA, document(made), lines)


def _name(device: str, output: Path) -> str:
    """A name that hw profiles may have: that of the device, or of the file."""
    plain = re.sub(r"[^a-z0-9-]+", "-", (output.stem if device == "host" else device).lower()).strip("-")
    return plain[:64] or "host"
