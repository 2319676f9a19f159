"""`eetool profile`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eetool.cli.artefact_arguments import check_device
from eetool.cli.commands.table import BuildRequest, run_build
from eetool.cli.estimate_output import EstimateRequest, estimate_result
from eetool.cli.link_output import link_result
from eetool.cli.mcu_profile import McuRequest, mcu_profile_result
from eetool.cli.options import (
    DURATION,
    MODEL,
    PATH,
    PICTURE_SIZE,
    FiniteRange,
    accept_unstable_option,
    force_option,
    named_option,
    output_option,
    ssh_options,
)
from eetool.cli.output import CommandResult, verb_with_request, write_result
from eetool.cli.profile_output import profile_text
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.server_options import server_options, server_request
from eetool.cli.shell_completion import complete_device
from eetool.cli.table_measurement import HOST, SSH
from eetool.cli.table_output import device_result

if TYPE_CHECKING:
    from eetool.profile.profiler import Profile
    from eetool.profile.protocol import MeasurementProtocol, PowerOptions
    from eetool_runtime.bundle import Bundle
    from eetool_runtime.offload import Offload

_LINK_TIMEOUT_MS = 1000.0


@dataclass(frozen=True)
class ProfileRequest:
    """Options of `eetool profile`, those of its earlier uses (`estimate`, `table build`) included."""

    input: Path | None
    device: str
    device_python: str
    ssh_option: tuple[str, ...]
    threads: tuple[int, ...]
    runs: int | None
    min_seconds: float
    variant: str
    power: str | None
    power_seconds: float | None
    power_scope: str
    watts: float | None
    sustained: float | None
    picture: tuple[int, int] | None
    cycles: Path | None
    max_flash_kb: float | None
    max_ram_kb: float | None
    build_table: bool
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    probes: int
    write_probes: Path | None
    times: tuple[Path, ...]
    resume: bool
    offload_url: str | None
    offload_timeout_ms: float | None
    offload_token_file: Path | None
    offload_ca: Path | None
    offload_certificate: Path | None
    offload_key: Path | None
    link_calls: int
    link_pause_ms: float
    accept_unstable: bool
    output: Path | None
    named: tuple[str, ...]
    force: bool

    @property
    def protocol(self) -> "MeasurementProtocol":
        """Number of runs and duration of the measurement."""
        from eetool.profile.protocol import MeasurementProtocol

        return MeasurementProtocol(
            self.runs or MeasurementProtocol.runs,
            self.min_seconds,
            sustained_s=self.sustained,
            picture=self.picture or MeasurementProtocol.picture,
        )

    @property
    def microcontroller(self) -> McuRequest:
        """Options for a microcontroller."""
        return McuRequest(self.input, self.device, self.variant, self.cycles, self.max_flash_kb, self.max_ram_kb)

    @property
    def energy(self) -> "PowerOptions":
        """Meter or power from which energy is known."""
        from eetool.profile.protocol import PowerOptions

        return PowerOptions(self.power, self.watts, self.power_seconds, self.power_scope)


@verb_with_request(ProfileRequest)
@click.argument("input", type=MODEL, required=False)
@click.option(
    "--device",
    default=HOST,
    show_default=True,
    shell_complete=complete_device,
    help="host, ssh://user@host[:port], or mcu:cortex-m7, mcu:ethos-u55-128, ….",
)
@ssh_options
@click.option(
    "--threads", type=click.IntRange(1), multiple=True, help="Thread counts to measure; repeatable.  [1 to all cores]"
)
@click.option("--runs", type=click.IntRange(1), help="Timed calls of each component and exit, at least.  [300]")
@click.option(
    "--min-seconds", type=FiniteRange(0, 86400), default=3, show_default=True, help="Per thread count, at least."
)
@click.option("--variant", default="auto", show_default=True, help="Such as onnx/int8; auto: the first.")
@click.option("--power", metavar="METER", help="Measure energy too: pmic, hwmon, rapl, gpu, jetson, log:FILE, …")
@click.option("--power-seconds", type=FiniteRange(0, min_open=True), help="One energy window.  [ten readings]")
@click.option("--power-scope", type=click.Choice(["net", "gross"]), default="net", show_default=True)
@click.option("--watts", type=FiniteRange(0, min_open=True), help="Power of the board; energy is estimated from it.")
@click.option("--sustained", type=DURATION, help="Then call the model without a pause for this time: 90s, 30m.")
@click.option(
    "--picture",
    type=PICTURE_SIZE,
    default=None,
    metavar="480x640",
    help="Height and width of the picture of which inputs are made, for bundles of photographs.  [480x640]",
)
@server_options("--link", "Measure the link to the server that INPUT asks, and nothing else.", fallback=False)
@click.option(
    "--link-calls", type=click.IntRange(20), default=200, show_default=True, help="With --link: calls of one input."
)
@click.option(
    "--link-pause-ms",
    type=FiniteRange(0, 60_000),
    default=20,
    show_default=True,
    help="With --link: before each call, in which a Wi-Fi interface may fall asleep.",
)
@click.option("--cycles", type=PATH, help="For mcu: file of cycles that you measured on the microcontroller.")
@click.option(
    "--max-flash-kb", type=FiniteRange(0, min_open=True), help="For mcu: exit code 6 where the graphs need more KiB."
)
@click.option(
    "--max-ram-kb", type=FiniteRange(0, min_open=True), help="For mcu: exit code 6 where the arena needs more KiB."
)
# Earlier spelling of `eetool table build`.
@click.option("--build-table/--no-build-table", default=False, hidden=True)
@click.option("--format", "formats", multiple=True, hidden=True)
@click.option("--precision", "precisions", multiple=True, hidden=True)
@click.option("--probes", type=click.IntRange(8), default=1000, hidden=True)
@click.option("--write-probes", type=PATH, hidden=True)
@click.option("--times", type=PATH, multiple=True, hidden=True)
@click.option("--resume/--no-resume", default=False, hidden=True)
@accept_unstable_option
@output_option("Where to write the JSON document.")
@named_option
@force_option
def profile(request: ProfileRequest) -> CommandResult:
    """Measure latency, and energy with --power, of the bundle INPUT on this machine or over ssh.

    With --device mcu:NAME: flash and RAM of a bundle of `eetool export --target mcu`, and cycles where they are known:
    estimated by Vela for an Ethos-U, or from --cycles.

    Without INPUT: print what eetool reads about this machine. `eetool estimate` and `eetool table` are verbs of their
    own; `eetool profile INPUT --device rpi4` and `eetool profile --build-table` go on working. Times that scatter too
    much end with exit code 7; the document is written all the same, with the reasons.

    With --link URL real requests are sent to the server that INPUT asks, as `eetool run --offload URL` sends them. The
    document is what `eetool tune --link` charges a call by. --offload-timeout-ms is 1000 here, so that slow answers are
    measured too.
    """
    from eetool.errors import UsageError
    from eetool.profile.protocol import METERS
    from eetool.records import check_output
    from eetool_measure.meters.registry import check_meter_name

    offload = server_request(request).offload("--link", _LINK_TIMEOUT_MS)
    if request.power is not None and request.watts is not None:
        raise UsageError("--power measures and --watts estimates", "Give one of them.")
    if request.power is not None and request.power not in METERS:
        check_meter_name(request.power)
    if request.build_table:
        return _build_table(request)  # of a device that may be new
    _check_microcontroller(request)
    check_device(request.device, "profile")
    if request.output is not None:
        check_output(request.output, request.force)
    result = _result(request) if offload is None else _measure_link(request, offload)
    if request.output is not None:
        write_result(request.output, result, request.force)
    return result


def _check_microcontroller(request: ProfileRequest) -> None:
    """Raise UsageError where options for a microcontroller meet another device, or those of a measurement meet one."""
    from eetool.errors import UsageError
    from eetool.microcontroller.devices import is_microcontroller

    if not is_microcontroller(request.device):
        if request.microcontroller.is_used():
            raise UsageError(
                "--cycles, --max-flash-kb and --max-ram-kb are for microcontrollers", "Such as --device mcu:cortex-m7."
            )
        return
    for name in ("threads", "runs", "power", "watts", "sustained", "picture"):
        if getattr(request, name):
            raise UsageError(
                f"--{name} is of a measurement, and nothing runs on {request.device} here", f"Leave out --{name}."
            )


def _result(request: ProfileRequest) -> CommandResult:
    from eetool.microcontroller.devices import is_microcontroller

    if is_microcontroller(request.device):
        return mcu_profile_result(request.microcontroller)
    if request.device.startswith(SSH):
        return _measure_over_ssh(request)
    if request.input is None:
        return _this_machine() if request.device == HOST else device_result(request.device)
    if _is_measured(request.input, request.device):
        return _measure_here(request, request.input)
    return _estimate(request, request.input)


def _build_table(request: ProfileRequest) -> CommandResult:
    """Do as `eetool table build`."""
    from eetool.errors import UsageError

    if request.input is not None or (request.output is None and request.write_probes is None):
        raise UsageError("--build-table takes no INPUT and needs -o", "Such as eetool table build -o my.json.")
    names = BuildRequest.__dataclass_fields__
    return run_build(BuildRequest(**{name: getattr(request, name) for name in names}))


def _estimate(request: ProfileRequest, path: Path) -> CommandResult:
    """Do as `eetool estimate`; the first thread count applies."""
    from eetool.errors import UsageError

    if request.power not in (None, "none"):
        raise UsageError(
            f"--power measures, and {request.device} is predicted", "Leave it out, or estimate with --watts."
        )
    if request.sustained is not None:
        raise UsageError(f"--sustained measures, and {request.device} is predicted", "Leave it out.")
    threads = request.threads[0] if request.threads else 1
    return estimate_result(
        EstimateRequest(
            input=path,
            device=request.device,
            variant=request.variant,
            threads=threads,
            watts=request.watts,
            named=request.named,
        )
    )


def _is_measured(path: Path, device: str) -> bool:
    """Return whether `path` is a bundle and `device` this machine; all else is estimated."""
    from eetool.errors import MissingError
    from eetool.latency.table.hw_profile import find_device, is_board, is_profile_file
    from eetool_measure.machine import read_machine

    if device == HOST:
        if path.suffix in (".onnx", ".pt") and path.is_file():
            raise MissingError(
                f"{path} is estimated, not measured, and this machine has no latency table yet",
                "`eetool table build -o my.json` makes one; then `eetool estimate … --device my.json`. "
                "A bundle is measured without a table.",
            )
        return True
    if is_profile_file(device):
        return False
    known = find_device(device)
    if is_board(known, read_machine().board):
        return True
    if not known.table and not known.regressions:
        raise MissingError(
            f"this machine is no {known.name}, so no time measured here may be called that; "
            f"and {known.name} has no latency table to predict from",
            f"Measure on a {known.title} with --device ssh://user@host, or there with "
            "`python -m eetool_measure BUNDLE`; leave out --device to measure here.",
        )
    return False


def _measure_here(request: ProfileRequest, path: Path) -> CommandResult:
    from eetool.profile.profiler import profile_bundle
    from eetool.profile.thread_choice import candidate_threads
    from eetool_runtime.machine import usable_cores

    bundle, variant = _bundle(path, request.variant)
    result = profile_bundle(
        bundle,
        variant,
        tuple(sorted(set(request.threads))) or candidate_threads(usable_cores()),
        request.protocol,
        TerminalProgress(),
        _this_name(request.device),
        request.energy,
    )
    return _profile_result(result, request.accept_unstable)


def _measure_link(request: ProfileRequest, offload: "Offload") -> CommandResult:
    from eetool.errors import UsageError
    from eetool.profile.link_profile import LinkRules, profile_link

    if request.input is None or request.device != HOST:
        raise UsageError(
            "--link measures from this machine, with the requests of a bundle", "Give the bundle, on the device itself."
        )
    bundle, variant = _bundle(request.input, request.variant)
    rules = LinkRules(request.link_calls, request.link_pause_ms)
    return link_result(profile_link(bundle, variant, offload, rules, HOST, TerminalProgress()))


def _measure_over_ssh(request: ProfileRequest) -> CommandResult:
    """Measure on another machine; a board listed by `eetool devices` has its own name in the document."""
    from eetool.errors import UsageError
    from eetool.latency.table.hw_profile import device_name_of_board
    from eetool.profile.profiler import profile_bundle
    from eetool.profile.ssh_runner import lease_device
    from eetool.profile.thread_choice import candidate_threads

    if request.input is None:
        raise UsageError("what is to be measured there?", "Give a bundle: eetool profile B --device ssh://…")
    bundle, variant = _bundle(request.input, request.variant)
    with lease_device(request.device, bundle, request.ssh_option, request.device_python) as remote:
        result = profile_bundle(
            bundle,
            variant,
            tuple(sorted(set(request.threads))) or candidate_threads(remote.cores),
            request.protocol,
            TerminalProgress(),
            request.device,
            request.energy,
            remote.measure,
        )
    name = device_name_of_board(result.machine.board) or request.device
    return _profile_result(replace(result, device=name), request.accept_unstable)


def _profile_result(profile: "Profile", accept_unstable: bool) -> CommandResult:
    from eetool.profile.profiler import SCHEMA, stability_problem

    problem = None if accept_unstable else stability_problem(profile)
    return CommandResult(SCHEMA, vars(profile), profile_text(profile), problem)


def _bundle(path: Path, variant: str) -> "tuple[Bundle, str]":
    """Return the bundle at `path` and the requested variant."""
    from eetool.errors import ArtefactError
    from eetool_runtime import open_bundle

    if path.is_file():
        raise ArtefactError(f"{path}: not a bundle", "Make one with `eetool export`; profile measures bundles.")
    bundle = open_bundle(path)
    chosen = next(iter(bundle.manifest.variants)) if variant == "auto" else variant
    bundle.variant(chosen)
    return bundle, chosen


def _this_name(device: str) -> str:
    """Return the name of this machine: host, or that of the device."""
    from eetool.latency.table.hw_profile import find_device

    return HOST if device == HOST else find_device(device).name


def _this_machine() -> CommandResult:
    from eetool_measure.machine import read_machine
    from eetool_runtime.backends import backend_for

    backend = backend_for("onnx")
    machine = read_machine(backend.name, backend.version)
    lines = [f"{name}: {'not readable' if value is None else value}" for name, value in vars(machine).items()]
    return CommandResult("machine/1", {"device": HOST, "machine": machine}, lines)


command = profile
