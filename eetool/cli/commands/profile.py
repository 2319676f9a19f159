"""`eetool profile`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.estimate_output import estimate_result
from eetool.cli.number_format import milliseconds
from eetool.cli.options import DURATION, MODEL, PATH, FiniteRange, force_option, named_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, table, verb, write_result
from eetool.cli.shell_completion import complete_device
from eetool.cli.table_output import build_table_result

if TYPE_CHECKING:
    from eetool.profile.profiler import Profile
    from eetool.profile.protocol import MeasurementProtocol, PowerOptions
    from eetool_measure.timing import Latency
    from eetool_runtime.bundle import Bundle

HOST = "host"
SSH = "ssh://"


@verb
@click.argument("input", type=MODEL, required=False)
@click.option(
    "--device",
    default=HOST,
    show_default=True,
    shell_complete=complete_device,
    help="host, ssh://user@host[:port], a name from `eetool devices`, or a hw profile.",
)
@click.option("--device-python", default="python3", show_default=True, help="With ssh://: the interpreter there.")
@click.option("--ssh-option", multiple=True, metavar="KEY=VALUE", help="Given to `ssh -o`; repeatable.")
@click.option(
    "--threads", type=click.IntRange(1), multiple=True, help="Counts to measure; repeatable.  [1 to all cores]"
)
@click.option("--runs", type=click.IntRange(1), help="Calls of everything, at least.  [300; probes of a table: 30]")
@click.option("--min-seconds", type=FiniteRange(0, 86400), default=3, show_default=True, help="Per count, at least.")
@click.option("--variant", default="auto", show_default=True)
@click.option("--power", metavar="METER", help="Measure energy too: pmic, hwmon, rapl, gpu, jetson, log:FILE, …")
@click.option("--power-seconds", type=FiniteRange(0, min_open=True), help="One energy window.  [ten readings]")
@click.option("--power-scope", type=click.Choice(["net", "gross"]), default="net", show_default=True)
@click.option("--watts", type=FiniteRange(0, min_open=True), help="What the board draws; energy is then estimated.")
@click.option("--sustained", type=DURATION, help="Then call it for so long without a pause: 90s, 30m.")
@click.option("--build-table/--no-build-table", default=False, help="Measure a latency table of this machine.")
@click.option("--format", "formats", multiple=True, help="Of its probes: onnx, tflite; repeatable.  [onnx]")
@click.option("--precision", "precisions", multiple=True, help="Of its probes: fp32, int8; repeatable.  [fp32]")
@click.option("--probes", type=click.IntRange(8), default=1200, show_default=True, help="Networks behind a table.")
@click.option("--write-probes", type=PATH, metavar="DIR", help="Only write them, for another device to measure.")
@click.option("--times", type=PATH, multiple=True, help="What that device's measuring printed; repeatable.")
@click.option("--resume/--no-resume", default=False, help="Go on with an interrupted --build-table.")
@click.option(
    "--accept-unstable/--no-accept-unstable",
    default=False,
    envvar="EETOOL_ACCEPT_UNSTABLE",
    show_envvar=True,
    help="Keep times that scatter, and say so.",
)
@output_option("Where to write the JSON document.")
@named_option
@force_option
def profile(
    input: Path | None,
    device: str,
    device_python: str,
    ssh_option: tuple[str, ...],
    threads: tuple[int, ...],
    runs: int | None,
    min_seconds: float,
    variant: str,
    power: str | None,
    power_seconds: float | None,
    power_scope: str,
    watts: float | None,
    sustained: float | None,
    build_table: bool,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    probes: int,
    write_probes: Path | None,
    times: tuple[Path, ...],
    resume: bool,
    accept_unstable: bool,
    output: Path | None,
    named: tuple[str, ...],
    force: bool,
) -> CommandResult:
    """Measure the bundle INPUT on this machine, or predict INPUT (a bundle, checkpoint or ONNX file) for a device.

    Without INPUT: say what is known of a device, or with --build-table measure a latency table.
    """
    from eetool.errors import UsageError
    from eetool.profile.protocol import MeasurementProtocol, PowerOptions
    from eetool.records import check_output

    if power is not None and watts is not None:
        raise UsageError("--power measures and --watts estimates: give one of them")
    energy = PowerOptions(power, watts, power_seconds, power_scope)
    protocol = MeasurementProtocol(runs or MeasurementProtocol.runs, min_seconds, sustained_s=sustained)
    if output is not None:
        check_output(output, force)
    if build_table:
        if input is not None or (output is None and write_probes is None):
            raise UsageError("--build-table takes no INPUT and needs -o", "Such as --build-table -o my.json.")
        reach, kinds = (ssh_option, device_python), (formats, precisions)
        answer = build_table_result(
            device, threads, probes, runs, write_probes, times, output, resume, accept_unstable, *reach, *kinds, force
        )
    elif device.startswith(SSH):
        answer = _remote(input, device, variant, threads, protocol, energy, ssh_option, device_python, accept_unstable)
    elif input is None:
        answer = _this_machine() if device == HOST else _known(device)
    elif _is_measured(input, device):
        answer = _measured(input, _this_name(device), variant, threads, protocol, energy, accept_unstable)
    else:
        if power not in (None, "none"):
            raise UsageError(f"--power measures, and {device} is predicted", "Leave it out, or estimate with --watts.")
        if sustained is not None:
            raise UsageError(f"--sustained measures, and {device} is predicted", "Leave it out.")
        answer = estimate_result(input, device, variant, threads, watts, named)
    if output is not None:
        write_result(output, "profile", answer, force)
    return answer


def _is_measured(path: Path, device: str) -> bool:
    """A bundle on this machine is measured; everything else is predicted."""
    from eetool.errors import MissingError
    from eetool.latency.table.hw_profile import find_device, is_board, is_profile_file
    from eetool_measure.machine import read_machine

    if device == HOST:
        if path.suffix in (".onnx", ".pt") and path.is_file():
            raise MissingError(
                f"{path} would have to be predicted, and this machine has no latency table yet",
                "`eetool profile --build-table -o my.json` makes one; then give --device my.json. "
                "A bundle is measured without.",
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


def _measured(
    path: Path,
    device: str,
    variant: str,
    threads: tuple[int, ...],
    protocol: "MeasurementProtocol",
    power: "PowerOptions",
    accept_unstable: bool,
) -> CommandResult:
    from eetool.profile.profiler import SCHEMA, profile_bundle
    from eetool.profile.thread_choice import candidate_threads
    from eetool_runtime.machine import usable_cores

    bundle, chosen = _bundle(path, variant)
    counts = tuple(sorted(set(threads))) or candidate_threads(usable_cores())
    found = profile_bundle(
        bundle, chosen, counts, protocol, TerminalProgress(), device, power, accept_unstable=accept_unstable
    )
    return CommandResult(SCHEMA, vars(found), _profile_text(found))


def _remote(
    path: Path | None,
    device: str,
    variant: str,
    threads: tuple[int, ...],
    protocol: "MeasurementProtocol",
    power: "PowerOptions",
    ssh_options: tuple[str, ...],
    python: str,
    accept_unstable: bool,
) -> CommandResult:
    """Measure on another machine, which is called by the name of its board where eetool knows it."""
    from eetool.errors import UsageError
    from eetool.latency.table.hw_profile import device_name_of_board
    from eetool.profile.profiler import SCHEMA, profile_bundle
    from eetool.profile.ssh_runner import lease_device
    from eetool.profile.thread_choice import candidate_threads

    if path is None:
        raise UsageError("what is to be measured there?", "Give a bundle: eetool profile B --device ssh://…")
    bundle, chosen = _bundle(path, variant)
    with lease_device(device, bundle, ssh_options, python) as remote:
        counts = tuple(sorted(set(threads))) or candidate_threads(remote.cores)
        found = profile_bundle(
            bundle, chosen, counts, protocol, TerminalProgress(), device, power, remote.measure, accept_unstable
        )
    found = replace(found, device=device_name_of_board(found.machine.board) or device)
    return CommandResult(SCHEMA, vars(found), _profile_text(found))


def _bundle(path: Path, variant: str) -> "tuple[Bundle, str]":
    """The bundle at `path`, and the variant of it that is meant."""
    from eetool.errors import ArtefactError
    from eetool_runtime import open_bundle

    if path.is_file():
        raise ArtefactError(f"{path}: not a bundle", "Make one with `eetool export`; profile measures bundles.")
    bundle = open_bundle(path)
    chosen = next(iter(bundle.manifest.variants)) if variant == "auto" else variant
    bundle.variant(chosen)
    return bundle, chosen


def _this_name(device: str) -> str:
    """The name of this machine: host, or the device that it is."""
    from eetool.latency.table.hw_profile import find_device

    return HOST if device == HOST else find_device(device).name


def _profile_text(p: "Profile") -> list[Any]:
    times = p.chosen
    return [
        f"{p.bundle.name} {p.variant}, measured on {p.machine.cpu or p.machine.architecture}, batch 1, "
        f"{times.components[0].latency_ms.runs} runs, ms",
        _threads_table(p),
        f"chosen: {p.threads} of {p.machine.cores} threads, by {p.threads_chosen_by}",
        "",
        f"Components alone, {p.threads} threads" if p.threads > 1 else "Components alone, 1 thread",
        _components_table(p),
        "The cascade, beside the sum of the components that ran",
        _cascade_table(p),
        *_overhead_lines(p),
        *_energy_lines(p),
        *_sustained_lines(p),
        *(f"unstable, and accepted: {reason}" for reason in p.unstable),
    ]


def _sustained_lines(p: "Profile") -> list[str]:
    s = p.sustained
    if s is None:
        return []
    first, last = s.windows[0], s.windows[-1]
    hot = f", {last.condition.temperature_c:.0f} °C" if last.condition.temperature_c is not None else ""
    slowed = ", slowed down by the board" if any(w.condition.throttled for w in s.windows) else ""
    at_first, at_last = milliseconds(first.latency_ms.median), milliseconds(last.latency_ms.median)
    return [
        f"Called for {s.seconds:g} s at {s.operating_point}: median {at_first} ms at first, "
        f"{at_last} ms at last ({s.slowdown:+.1%}){hot}{slowed}"
    ]


def _energy_lines(p: "Profile") -> list[Any]:
    energy = p.energy
    if energy is None:
        return ["energy: not known; --power METER measures it, --watts W estimates it"]
    figures = [(name, figure) for name, figure in energy.components.items()]
    figures += [(f"leaving at {k}", figure) for k, figure in enumerate(energy.cascade)]
    figures += [("heads skipped", energy.full), *energy.references.items()]
    rows = [
        (name, milliseconds(f.value), "–" if f.ci95 is None else f"{f.ci95[0]:.4g} to {f.ci95[1]:.4g}")
        for name, f in figures
    ]
    idle = f", idle {energy.idle_w:.3g} W subtracted" if energy.idle_w is not None else ""
    return [
        f"Energy per inference, mJ, {energy.scope}, {energy.provenance} by {energy.meter}{idle}",
        table({"what ran": "left", "mJ": "right", "95 %": "right"}, rows),
    ]


def _threads_table(p: "Profile") -> Any:
    exits = [f"exit {at.exit}" for at in p.chosen.cascade]
    rows = [
        (
            f"{times.threads} *" if times.threads == p.threads else f"{times.threads}  ",
            *(milliseconds(at.latency_ms.median) for at in times.cascade),
            milliseconds(times.full.median),
            milliseconds(times.references.unsplit.median if times.references.unsplit else None),
        )
        for times in p.thread_counts
    ]
    return table(dict.fromkeys(("threads", *exits, "heads skipped", "unsplit"), "right"), rows)


def _components_table(p: "Profile") -> Any:
    rows = [(c.name, f"{c.macs / 1e6:.2f}", *_summary(c.latency_ms)) for c in p.chosen.components]
    columns = {"component": "left", **dict.fromkeys(("MACs (M)", "median", "p90", "p99", "MAD"), "right")}
    return table(columns, rows)


def _summary(latency: "Latency") -> tuple[str, ...]:
    return tuple(milliseconds(value) for value in (latency.median, latency.p90, latency.p99, latency.mad))


def _cascade_table(p: "Profile") -> Any:
    rows = [
        (
            str(at.exit),
            *_summary(at.latency_ms),
            milliseconds(at.components_sum_ms),
            f"{at.ratio.median:.2f}",
            f"{at.ratio.ci95[0]:.2f}–{at.ratio.ci95[1]:.2f}",
        )
        for at in p.chosen.cascade
    ]
    headings = ("leaving at", "median", "p90", "p99", "MAD", "components", "ratio", "95 %")
    return table(dict.fromkeys(headings, "right"), rows)


def _overhead_lines(p: "Profile") -> list[str]:
    overhead = p.chosen.overhead
    named = (
        ("full depth, heads skipped / unsplit", overhead.full_to_unsplit),
        ("full depth, all heads / unsplit", overhead.cascade_to_unsplit),
        ("the split: components / all exits in one graph", overhead.components_to_all_exits),
        ("the runtime: cascade / components", overhead.cascade_to_components),
    )
    return [
        f"{what}: " + (f"{r.median:.2f} ({r.ci95[0]:.2f}–{r.ci95[1]:.2f})" if r else "not in the bundle")
        for what, r in named
    ]


def _this_machine() -> CommandResult:
    from eetool_measure.machine import read_machine
    from eetool_runtime.backends import backend_for

    backend = backend_for("onnx")
    machine = read_machine(backend.name, backend.version)
    lines = [f"{name}: {'not readable' if value is None else value}" for name, value in vars(machine).items()]
    return CommandResult("machine/1", {"device": HOST, "machine": machine}, lines)


def _known(device: str) -> CommandResult:
    from eetool.cli.commands.devices import device_text
    from eetool.latency.table.hw_profile import SCHEMA, load_device, profile_document

    known = load_device(device)
    return CommandResult(SCHEMA, profile_document(known), device_text(known))


command = profile
