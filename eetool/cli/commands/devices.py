"""`eetool devices`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.number_format import milliseconds
from eetool.cli.output import CommandResult, table, verb
from eetool.cli.shell_completion import complete_device

if TYPE_CHECKING:
    from eetool.latency.table.hw_profile import HwProfile
    from eetool.latency.table.table import Regression, TableEntry

# A constant, then by million MACs and by megabyte, of time and of energy.
_PRICES = {
    "kernel": "left",
    **dict.fromkeys(("ms", "ms/MMAC", "ms/MB", "mJ", "mJ/MMAC", "mJ/MB", "n", "error"), "right"),
}
_MOST_ENTRIES = 40  # of a table that somebody measured there are thousands; --json has all


@verb
@click.argument("name", required=False, shell_complete=complete_device)
def devices(name: str | None) -> CommandResult:
    """List the devices that eetool knows, or all that is known of the device or hw profile NAME."""
    if name is not None:
        from eetool.latency.table.hw_profile import SCHEMA, load_device, profile_document

        known = load_device(name)
        return CommandResult(SCHEMA, profile_document(known), device_text(known))
    return _all()


def _all() -> CommandResult:
    from eetool.latency.table.hw_profile import known_devices
    from eetool_measure.machine import read_machine

    machine, known = read_machine(), known_devices()
    listed = [
        {
            "name": d.name,
            "title": d.title,
            "aliases": d.aliases,
            "power": d.power,
            "table_entries": {"measured": d.entries("measured"), "fitted": d.entries("fitted")},
            "regressions": len(d.regressions),
            "conditions": [_conditions(c) for c in d.compositions],
        }
        for d in known
    ]
    rows = [
        (d.name, d.title, describe_coverage(d), ", ".join(sorted({p.state for p in d.power})) or "–") for d in known
    ]
    text = [
        f"host: this machine, {machine.cpu or machine.architecture}, measured on demand",
        table(dict.fromkeys(("device", "what it is", "latency table", "power"), "left"), rows),
        "`eetool devices NAME` says for which backend, precision and threads",
    ]
    return CommandResult("devices/1", {"machine": machine, "devices": listed}, text)


def describe_coverage(known: "HwProfile") -> str:
    """How much of the latency of a device is known, in words."""
    measured, fitted, kinds = known.entries("measured"), known.entries("fitted"), len(known.regressions)
    parts = [f"{measured} measured"] if measured else []
    parts += [f"{fitted} fitted entries"] if fitted else []
    parts += [f"{kinds} fitted kinds"] if kinds else []
    return ", ".join(parts) or "nothing: its table is empty"


def device_text(known: "HwProfile") -> list[Any]:
    """Everything about one device, for people."""
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
    lines += _latency_lines(known)
    lines += [f"source {source.id}: {source.title} ({source.licence})" for source in known.sources]
    return lines


def _latency_lines(known: "HwProfile") -> list[Any]:
    if not known.table and not known.regressions:
        return ["latency table: empty, so no latency can be predicted for this device"]
    lines: list[Any] = [f"latency table: {describe_coverage(known)}"]
    shown = known.table[:_MOST_ENTRIES]
    for (conditions, kind, source), entries in _grouped(shown):
        lines.append(f"{conditions}, {kind}, source {source}")
        lines.append(
            table(dict.fromkeys(("kernel", "sizes", "ms", "how sure"), "left"), list(map(_entry_row, entries)))
        )
    if len(known.table) > len(shown):
        lines.append(f"… and {len(known.table) - len(shown)} more; --json has all of them")
    for (conditions, kind, source), regressions in _grouped(known.regressions):
        scopes = sorted({r.energy.scope for r in regressions if r.energy is not None})
        lines.append(f"{conditions}, {kind}, source {source}; energy: {', '.join(scopes) or 'not known'}")
        lines.append(table(_PRICES, list(map(_regression_row, regressions))))
    lines += [
        f"whole graphs, {_conditions(c)}: {milliseconds(c.dispatch_ms)} ms a call; "
        + (f"error ±{c.cv_error:.1%} on {c.n} networks left out" if c.n else "compared with no whole network")
        for c in known.compositions
    ]
    return lines


def _grouped(items: Sequence[Any]) -> list[tuple[tuple[str, str, str], list[Any]]]:
    """Items by what they are of, fitted or measured, and their source."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for item in items:
        groups.setdefault((_conditions(item), getattr(item, "kind", "fitted"), item.source), []).append(item)
    return list(groups.items())


def _entry_row(entry: "TableEntry") -> tuple[str, ...]:
    if entry.kind == "measured":
        sure = f"median of {entry.count}, spread {milliseconds(entry.spread_ms)}"
    else:
        sure = f"{entry.n} measurements, ±{entry.cv_error:.1%}"
    sizes = " ".join(f"{name}={value}" for name, value in entry.shape.items())
    return entry.kernel, sizes, milliseconds(entry.ms), sure


def _regression_row(r: "Regression") -> tuple[str, ...]:
    prices: list[float | None] = [r.constant_ms, r.ms_per_mmac, r.ms_per_mb]
    e = r.energy
    prices += [e.constant_mj, e.mj_per_mmac, e.mj_per_mb] if e is not None else [None] * 3
    return r.kernel, *("–" if p is None else f"{p:.3g}" for p in prices), str(r.n), f"±{r.cv_error:.0%}"


def _conditions(item: Any) -> str:
    threads = "1 thread" if item.threads == 1 else f"{item.threads} threads"
    return f"{item.backend} {item.precision}, {threads}"


command = devices
