"""Measurement of latency tables for `eetool table build` and `eetool table extend`."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.cli.output import CommandResult
from eetool.cli.progress_bars import TerminalProgress
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.latency.build.build_table import MeasureNets
    from eetool.latency.build.probe_measurement import Runner
    from eetool.latency.table.hw_profile import HwProfile
    from eetool_measure.probe_timing import ProbeTimes

HOST = "host"
SSH = "ssh://"


@dataclass(frozen=True)
class TableRequest:
    """Options of a table that is measured or assembled.

    Attributes:
        device: `host`, ssh://user@host[:port], or with `times` the name of the measured device.
        formats, precisions: those of the probes; none are onnx and fp32.
        probes: number of networks per format, precision and thread count.
        runs: timed calls of each network.
        times: documents that `python -m eetool_measure` printed on the device; none to measure now.
    """

    device: str
    device_python: str
    ssh_option: tuple[str, ...]
    threads: tuple[int, ...]
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    probes: int
    runs: int | None
    times: tuple[Path, ...]
    resume: bool
    accept_unstable: bool

    @property
    def thread_counts(self) -> list[int]:
        """Thread counts to measure with, by default one thread."""
        return sorted(set(self.threads)) or [1]


def write_probes_result(request: TableRequest, folder: Path, force: bool) -> CommandResult:
    """Write the probes to `folder`; several kinds of probes have a folder each inside it."""
    from eetool.latency.build.build_table import RUNS
    from eetool.latency.probes.probe_files import probe_kinds, write_probes
    from eetool.latency.probes.probe_network import probe_networks
    from eetool.records import check_output, write_directory

    kinds = probe_kinds(request.formats, request.precisions)
    check_output(folder, force, directory=True)
    chosen, lines = list(islice(probe_networks(), request.probes)), []
    names = [kind.name.replace("/", "-") for kind in kinds]
    if len(kinds) == 1:
        counts = {kinds[0].name: len(write_probes(folder, chosen, kinds[0], force))}
    else:
        with write_directory(folder, force) as made:
            counts = {k.name: len(write_probes(made / n, chosen, k)) for k, n in zip(kinds, names, strict=True)}
    for kind, file_name in zip(kinds, names, strict=True):
        inside = folder if len(kinds) == 1 else folder / file_name
        lines.append(
            f"{counted(counts[kind.name], f'{kind.name} probe')} in {inside}: "
            "copy the folder to the device, and run there"
        )
        lines.append(
            f"    python -m eetool_measure {inside.name} --runs {request.runs or RUNS} > times-{file_name}.json"
        )
    return CommandResult("probes/1", {"probes": counts}, lines)


def read_times_documents(request: TableRequest) -> "list[ProbeTimes]":
    """Return the documents of `request.times`."""
    from eetool.latency.build.profile_assembly import read_times

    return [read_times(path) for path in request.times]


def requested_conditions(request: TableRequest, documents: "Sequence[ProbeTimes]") -> set[tuple[str, str, int]]:
    """Return backend, precision and thread count of every table that `request` makes."""
    from eetool.latency.probes.probe_files import probe_kinds
    from eetool.latency.table.table import BACKENDS

    if documents:
        return {(BACKENDS[d.format], d.precision, d.threads) for d in documents}
    kinds = probe_kinds(request.formats, request.precisions)
    return {(BACKENDS[k.format], k.precision, count) for k in kinds for count in request.thread_counts}


def make_table(request: TableRequest, documents: "Sequence[ProbeTimes]", output: Path, force: bool) -> "HwProfile":
    """Return the hw profile of the device, assembled from `documents` or measured now.

    What has been measured is kept beside `output` until the end, for --resume.
    """
    from eetool.latency.build import build_table, profile_assembly
    from eetool.latency.probes.probe_files import probe_kinds

    kinds = probe_kinds(request.formats, request.precisions)
    if documents:
        name = profile_name(request.device, output)
        return profile_assembly.make_hw_profile(name, profile_assembly.assemble_tables(documents), documents[0].machine)
    plan = build_table.BuildPlan(request.probes, request.runs or build_table.RUNS, kinds=tuple(kinds))
    partial_file = output.with_name(f"{output.name}.partial")
    _check_partial_file(partial_file, request.resume or force)
    with _measuring(request) as measure:
        return build_table.build_profile(
            profile_name(HOST, output),
            request.thread_counts,
            plan,
            partial_file,
            measure,
            TerminalProgress(),
            request.resume,
            request.accept_unstable,
            force,
        )


def _check_partial_file(partial_file: Path, replaced: bool) -> None:
    """Refuse to lose an interrupted measurement without --resume or --force."""
    from eetool.errors import OutputError
    from eetool.workspace import clear_leftovers

    clear_leftovers(partial_file)
    if partial_file.exists() and not replaced:
        raise OutputError(
            f"{partial_file} holds an interrupted measurement", "--resume continues it, --force starts anew."
        )


def profile_name(device: str, output: Path) -> str:
    """Return a valid name of a hw profile: that of the device, or of the file for `host`."""
    plain = re.sub(r"[^a-z0-9-]+", "-", (output.stem if device == HOST else device).lower()).strip("-")
    return plain[:64] or HOST


@contextmanager
def checking(device: str, device_python: str, ssh_option: tuple[str, ...], profile: "HwProfile") -> "Iterator[Runner]":
    """Yield the function that measures the reference probes of `profile`, here or over ssh.

    Raises:
        ArtefactError: the profile is of another machine than this one.
        UsageError: `device` is neither.
    """
    from eetool.errors import UsageError
    from eetool.latency.check.table_check import require_machine
    from eetool_measure.machine import read_machine

    if device.startswith(SSH):
        from eetool.profile.ssh_runner import lease_device

        with lease_device(device, None, ssh_option, device_python) as remote:
            yield remote.run_measure
    elif device == HOST:
        from eetool.profile.local_runner import run_measure

        require_machine(profile, read_machine())
        yield run_measure
    else:
        raise UsageError(f"a table is checked on its own machine, not on {device}", "Give ssh://user@host, or nothing.")


@contextmanager
def _measuring(request: TableRequest) -> "Iterator[MeasureNets]":
    """Yield the function that measures probes, on this machine or over ssh."""
    from eetool.errors import UsageError
    from eetool.latency.build.probe_measurement import measure_probe_networks

    if request.device.startswith(SSH):
        from eetool.profile.ssh_runner import lease_device

        with lease_device(request.device, None, request.ssh_option, request.device_python) as remote:
            yield partial(measure_probe_networks, run=remote.run_measure)
    elif request.device == HOST:
        from eetool.profile.local_runner import run_measure

        yield partial(measure_probe_networks, run=run_measure)
    else:
        raise UsageError(
            f"the probes would be measured on this machine, which is not to be called {request.device}",
            "Leave out --device, or give ssh://user@host; or --write-probes DIR, measure them there, and --times.",
        )
