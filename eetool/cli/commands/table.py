"""`eetool table`: build, check, extend and show the latency table of a device."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eetool.cli.near_misses import SuggestingGroup
from eetool.cli.options import (
    DEVICE,
    PATH,
    accept_unstable_option,
    force_option,
    output_option,
    ssh_options,
)
from eetool.cli.output import Command, CommandResult, verb, verb_with_request, write_result
from eetool.cli.shell_completion import complete_device, complete_hw_profile
from eetool.cli.table_measurement import (
    HOST,
    TableRequest,
    checking,
    make_table,
    profile_name,
    read_times_documents,
    requested_conditions,
    write_probes_result,
)
from eetool.cli.table_output import built_result, check_result, table_result

if TYPE_CHECKING:
    from eetool.latency.check.table_check import Conditions
    from eetool.latency.table.hw_profile import HwProfile

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class BuildRequest(TableRequest):
    """Options of `eetool table build`."""

    write_probes: Path | None
    output: Path | None
    force: bool


@dataclass(frozen=True)
class ExtendRequest(TableRequest):
    """Options of `eetool table extend`; `file` is a hw profile on disk, or a known device with an `output`."""

    file: str
    output: Path | None
    force: bool


@dataclass(frozen=True)
class CheckRequest:
    """Options of `eetool table check`; no condition means all that the table has reference probes of."""

    file: str
    device: str
    device_python: str
    ssh_option: tuple[str, ...]
    threads: tuple[int, ...]
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    accept_unstable: bool
    output: Path | None
    force: bool


class TableGroup(Command, SuggestingGroup):
    """Group of the verbs that concern tables."""


def _measuring_options(function: F) -> F:
    """Add the options of `TableRequest`."""
    help_of_device = "host, ssh://user@host[:port], or with --times the device's name."
    options = [
        click.option("--device", default=HOST, show_default=True, shell_complete=complete_device, help=help_of_device),
        ssh_options,
        click.option("--threads", type=click.IntRange(1), multiple=True, help="Thread counts; repeatable.  [1]"),
        click.option("--format", "formats", multiple=True, help="Of the probes: onnx, tflite; repeatable.  [onnx]"),
        click.option("--precision", "precisions", multiple=True, help="Of the probes: fp32, int8; repeatable.  [fp32]"),
        click.option("--probes", type=click.IntRange(8), default=1000, show_default=True, help="Networks to measure."),
        click.option("--runs", type=click.IntRange(1), help="Timed calls of each network.  [30]"),
        click.option(
            "--times", type=PATH, multiple=True, help="Documents that eetool_measure printed there; repeatable."
        ),
        click.option("--resume/--no-resume", default=False, help="Continue an interrupted measurement."),
        accept_unstable_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@verb_with_request(BuildRequest)
@_measuring_options
@click.option("--write-probes", type=PATH, metavar="DIR", help="Only write the probes, for a device to measure.")
@output_option("The hw profile.")
@force_option
def build(request: BuildRequest) -> CommandResult:
    """Measure the latency table of a device and write it as a hw profile.

    The device is this machine or one that ssh reaches. For others: --write-probes here, measure there, --times here.
    """
    return run_build(request)


@verb_with_request(ExtendRequest)
@click.argument("file", type=DEVICE, shell_complete=complete_hw_profile)
@_measuring_options
@output_option("The extended hw profile.  [FILE itself]")
@force_option
def extend(request: ExtendRequest) -> CommandResult:
    """Add measurements of other formats, precisions or thread counts to the hw profile FILE.

    FILE may also be a known device, with -o. Entries for the same backend, precision and thread count are replaced with
    --force only.
    """
    return run_extend(request)


@verb_with_request(CheckRequest)
@click.argument("file", type=DEVICE, shell_complete=complete_hw_profile)
@click.option("--device", default=HOST, show_default=True, shell_complete=complete_device, help="host, or ssh://….")
@ssh_options
@click.option("--threads", type=click.IntRange(1), multiple=True, help="Thread counts to check; repeatable.  [all]")
@click.option("--format", "formats", multiple=True, help="Formats to check: onnx, tflite; repeatable.  [all]")
@click.option("--precision", "precisions", multiple=True, help="Precisions: fp32, int8; repeatable.  [all]")
@accept_unstable_option
@output_option("Where to write the JSON document.")
@force_option
def check(request: CheckRequest) -> CommandResult:
    """Measure the reference probes of the table FILE again, on its own device.

    About 20 of its own probes, a few seconds for each format, precision and thread count. Their times now over those
    when the table was built give a speed factor for what computes, for what moves numbers, and for calls. Commands on
    this machine apply factors beyond ±5 %, for ten minutes without another check.
    """
    return run_check(request)


@verb
@click.argument("device", type=DEVICE, shell_complete=complete_hw_profile)
def show(device: str) -> CommandResult:
    """Print the latency table of DEVICE, a known device or a hw profile."""
    return table_result(device)


def run_build(request: BuildRequest) -> CommandResult:
    """Write probes, or build a table and write its hw profile."""
    from eetool.errors import UsageError
    from eetool.records import check_output

    if request.output is not None:
        check_output(request.output, request.force)
    if request.write_probes is not None:
        result = write_probes_result(request, request.write_probes, request.force)
    elif request.output is not None:
        profile = make_table(request, read_times_documents(request), request.output, request.force)
        result = built_result(profile, request.output)
    else:
        raise UsageError("a table needs -o", "Such as -o my.json.")
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


def run_extend(request: ExtendRequest) -> CommandResult:
    """Measure or assemble further conditions of a device and write the extended hw profile."""
    from eetool.errors import UsageError
    from eetool.latency.build.extend_table import check_extension, extend_hw_profile
    from eetool.latency.table.hw_profile import is_profile_file, load_device
    from eetool.records import check_output

    profile = load_device(request.file)
    in_place = is_profile_file(request.file) and request.output in (None, Path(request.file))
    if request.output is None and not in_place:
        raise UsageError(f"{request.file} comes with eetool and is not changed", "Give -o my.json.")
    output = request.output or Path(request.file)
    check_output(output, in_place or request.force)
    documents = read_times_documents(request)
    check_extension(profile, requested_conditions(request, documents), request.force)
    added = make_table(request, documents, output, request.force)
    extended = extend_hw_profile(profile, added)
    if not in_place:
        extended = replace(extended, name=profile_name(HOST, output))
    result = built_result(extended, output)
    write_result(output, result, in_place or request.force)
    return result


def run_check(request: CheckRequest) -> CommandResult:
    """Check a table and write the document."""
    from eetool.api.checked_device import keep_check
    from eetool.errors import UnstableError
    from eetool.latency.check.table_check import check_table
    from eetool.latency.table.hw_profile import load_device
    from eetool.records import check_output

    profile = load_device(request.file)
    if request.output is not None:
        check_output(request.output, request.force)
    with checking(request.device, request.device_python, request.ssh_option, profile) as run:
        found = check_table(profile, _conditions_to_check(request, profile), run, request.accept_unstable)
    if request.device == HOST:
        keep_check(profile, found)
    problem = None
    if found.reasons and not request.accept_unstable:
        problem = UnstableError(
            f"the check is not relied on: {'; '.join(found.reasons)}",
            "Stop other programs and check again, or give --accept-unstable.",
        )
    result = check_result(found, problem)
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


def _conditions_to_check(request: CheckRequest, profile: "HwProfile") -> "list[Conditions]":
    """Return the conditions of the reference probes that the options ask for."""
    from eetool.errors import ArtefactError
    from eetool.latency.check.table_check import reference_conditions
    from eetool.latency.probes.probe_files import probe_kinds
    from eetool.latency.table.table import BACKENDS, PRECISIONS

    known = reference_conditions(profile)
    kinds = probe_kinds(request.formats or tuple(BACKENDS), request.precisions or PRECISIONS)
    wanted = {(BACKENDS[kind.format], kind.precision) for kind in kinds}
    chosen = [c for c in known if c[:2] in wanted and (not request.threads or c[2] in request.threads)]
    if known and not chosen:
        there = "; ".join(f"{backend} {precision}, threads {count}" for backend, precision, count in known)
        raise ArtefactError(f"{profile.name} holds no reference probes of these conditions", f"It has: {there}.")
    return chosen


command = TableGroup(
    "table",
    commands=[build, check, extend, show],
    help="Build, check, extend or show the latency table of a device.",
    short_help="Build, check, extend or show the latency table of a device.",
)
