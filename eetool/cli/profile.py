"""`eetool profile`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.built import build_answer
from eetool.cli.console import Answer, TerminalProgress, table, verb, write_answer
from eetool.cli.figures import milliseconds
from eetool.cli.options import PATH, FiniteRange, force_option, output_option
from eetool.cli.predicted import predicted
from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.records import check_output

if TYPE_CHECKING:
    from eetool.profile.host import Profile, Protocol
    from eetool_runtime.timing import Latency

HOST = "host"


@verb
@click.argument("input", type=PATH, required=False)
@click.option("--device", default=HOST, show_default=True, help="host, a name from `eetool devices`, or a hw profile.")
@click.option(
    "--threads", type=click.IntRange(1), multiple=True, help="Counts to measure; repeatable.  [1 to all cores]"
)
@click.option("--runs", type=click.IntRange(1), help="Calls of everything, at least.  [300; probes of a table: 30]")
@click.option("--min-seconds", type=FiniteRange(0, 86400), default=3, show_default=True, help="Per count, at least.")
@click.option("--variant", default="auto", show_default=True)
@click.option("--build-table/--no-build-table", default=False, help="Measure a latency table of this machine.")
@click.option("--probes", type=click.IntRange(8), default=1200, show_default=True, help="Networks behind a table.")
@click.option("--write-probes", type=PATH, metavar="DIR", help="Only write them, for another device to measure.")
@click.option("--times", type=PATH, multiple=True, help="What that device's measuring printed; repeatable.")
@click.option("--resume/--no-resume", default=False, help="Go on with an interrupted --build-table.")
@click.option("--accept-unstable/--no-accept-unstable", default=False, help="Keep times that scatter, and say so.")
@output_option("Where to write the JSON document.")
@force_option
def profile(
    input: Path | None,
    device: str,
    threads: tuple[int, ...],
    runs: int | None,
    min_seconds: float,
    variant: str,
    build_table: bool,
    probes: int,
    write_probes: Path | None,
    times: tuple[Path, ...],
    resume: bool,
    accept_unstable: bool,
    output: Path | None,
    force: bool,
) -> Answer:
    """Measure the bundle INPUT on this machine, or predict INPUT (a bundle, checkpoint or ONNX file) for a device.

    Without INPUT: say what is known of a device, or with --build-table measure a latency table.
    """
    from eetool.profile.host import Protocol

    if output is not None:
        check_output(output, force or resume)
    if build_table:
        if input is not None or (output is None and write_probes is None):
            raise UsageError("--build-table takes no INPUT and needs -o", "Such as --build-table -o my.json.")
        answer = build_answer(device, threads, probes, runs, write_probes, times, output, resume, accept_unstable)
    elif input is None:
        answer = _this_machine() if device == HOST else _known(device)
    elif _is_measured(input, device):
        answer = _measured(input, _this_name(device), variant, threads, Protocol(runs or 300, min_seconds))
    else:
        answer = predicted(input, device, variant, threads)
    if output is not None:
        write_answer(output, "profile", answer)
    return answer


def _is_measured(path: Path, device: str) -> bool:
    """A bundle on this machine is measured; everything else is predicted."""
    from eetool.profile.device import find_device, is_board, is_file
    from eetool_runtime.machine import read_machine

    if device == HOST:
        if path.suffix in (".onnx", ".pt") and path.is_file():
            raise MissingError(
                f"{path} would have to be predicted, and this machine has no latency table yet",
                "`eetool profile --build-table -o my.json` makes one; then give --device my.json. "
                "A bundle is measured without.",
            )
        return True
    if is_file(device):
        return False
    known = find_device(device)
    if is_board(known, read_machine().board):
        return True
    if not known.table and not known.regressions:
        raise MissingError(
            f"this machine is no {known.name}, so no time measured here may be called that; "
            f"and {known.name} has no latency table to predict from",
            f"Copy the bundle to a {known.title} and run `python -m eetool_runtime.measure BUNDLE` there, "
            "or leave out --device to measure here.",
        )
    return False


def _measured(path: Path, device: str, variant: str, threads: tuple[int, ...], protocol: "Protocol") -> Answer:
    from eetool.profile.host import SCHEMA, candidate_threads, profile_host
    from eetool_runtime import open_bundle
    from eetool_runtime.machine import usable_cores

    if path.is_file():
        raise ArtefactError(f"{path}: not a bundle", "Make one with `eetool export`; profile measures bundles.")
    bundle = open_bundle(path)
    chosen = next(iter(bundle.manifest.variants)) if variant == "auto" else variant
    bundle.variant(chosen)
    counts = tuple(sorted(set(threads))) or candidate_threads(usable_cores())
    found = profile_host(bundle, chosen, counts, protocol, TerminalProgress(), device)
    return Answer(SCHEMA, vars(found), _profile_text(found))


def _this_name(device: str) -> str:
    """The name of this machine: host, or the device that it is."""
    from eetool.profile.device import find_device

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


def _this_machine() -> Answer:
    from eetool_runtime.backends import backend_for
    from eetool_runtime.machine import read_machine

    backend = backend_for("onnx")
    machine = read_machine(backend.name, backend.version)
    lines = [f"{name}: {'not readable' if value is None else value}" for name, value in vars(machine).items()]
    return Answer("machine/1", {"device": HOST, "machine": machine}, lines)


def _known(device: str) -> Answer:
    from eetool.profile.device import SCHEMA, device_of, document

    known = device_of(device)
    facts = known.facts
    lines: list[Any] = [
        f"{known.name}: {known.title}",
        f"{facts.soc}, {facts.cores} × {facts.cpu} at {facts.clock_mhz or 'unknown'} MHz, {', '.join(facts.isa)}",
        f"memory: {', '.join(str(size) for size in facts.memory_mib)} MiB",
    ]
    if known.power:
        rows = [(p.state, f"{p.power_w:g} W", p.scope, p.provenance, p.source) for p in known.power]
        lines.append(table(dict.fromkeys(("state", "power", "scope", "provenance", "source"), "left"), rows))
    else:
        lines.append("power: not known")
    lines.append(_table_line(known.entries("measured"), known.entries("fitted")))
    lines += [f"source {source.id}: {source.title} ({source.licence})" for source in known.sources]
    return Answer(SCHEMA, document(known), lines)


def _table_line(measured: int, fitted: int) -> str:
    if measured + fitted == 0:
        return "latency table: empty, so no latency can be predicted for this device"
    return f"latency table: {measured} measured and {fitted} fitted entries"


command = profile
