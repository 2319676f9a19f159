"""`eetool devices`."""

from typing import TYPE_CHECKING, Any

import click

from eetool.cli.complete import complete_device
from eetool.cli.console import Answer, table, verb
from eetool.cli.figures import milliseconds

if TYPE_CHECKING:
    from eetool.profile.device import HwProfile
    from eetool.profile.table import Regression, TableEntry

_MOST_ENTRIES = 40  # of a table that somebody measured there are thousands; --json has all


@verb
@click.argument("name", required=False, shell_complete=complete_device)
def devices(name: str | None) -> Answer:
    """List the devices that eetool knows, or all that is known of the device or hw profile NAME."""
    if name is not None:
        from eetool.profile.device import SCHEMA, device_of, document

        known = device_of(name)
        return Answer(SCHEMA, document(known), device_text(known))
    return _all()


def _all() -> Answer:
    from eetool.profile.device import known_devices
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
    rows = [("host", f"this machine: {machine.cpu or machine.architecture}", "measured on demand", "", "–")]
    rows += [
        (
            d.name,
            d.title,
            what_is_known(d),
            "; ".join(_conditions(c) for c in d.compositions),
            ", ".join(sorted({p.state for p in d.power})) or "–",
        )
        for d in known
    ]
    columns = dict.fromkeys(("device", "what it is", "latency", "of", "power figures"), "left")
    return Answer("devices/1", {"machine": machine, "devices": listed}, [table(columns, rows)])


def what_is_known(known: "HwProfile") -> str:
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
    lines: list[Any] = [f"latency table: {what_is_known(known)}"]
    if known.table:
        rows = [_entry_row(entry) for entry in known.table[:_MOST_ENTRIES]]
        lines.append(table(dict.fromkeys(("kernel", "sizes", "of", "kind", "ms", "how sure", "source"), "left"), rows))
        if len(known.table) > _MOST_ENTRIES:
            lines.append(f"… and {len(known.table) - _MOST_ENTRIES} more; --json has all of them")
    if known.regressions:
        headings = ("kernel", "of", "kind", "ms", "energy", "how sure", "source")
        lines.append(table(dict.fromkeys(headings, "left"), [_regression_row(r) for r in known.regressions]))
    lines += [
        f"whole graphs, {_conditions(c)}: {milliseconds(c.dispatch_ms)} ms a call; "
        + (f"error ±{c.cv_error:.1%} on {c.n} networks left out" if c.n else "compared with no whole network")
        for c in known.compositions
    ]
    return lines


def _entry_row(entry: "TableEntry") -> tuple[str, ...]:
    if entry.kind == "measured":
        sure = f"median of {entry.count}, spread {milliseconds(entry.spread_ms)}"
    else:
        sure = f"{entry.n} measurements, cross-validated ±{entry.cv_error:.1%}"
    sizes = " ".join(f"{name}={value}" for name, value in entry.shape.items())
    return entry.kernel, sizes, _conditions(entry), entry.kind, milliseconds(entry.ms), sure, entry.source


def _regression_row(r: "Regression") -> tuple[str, ...]:
    ms = _terms((r.constant_ms, ""), (r.ms_per_mmac, "/M MACs"), (r.ms_per_mb, "/MB"))
    energy = "–"
    if r.energy is not None:
        e = r.energy
        terms = _terms((e.constant_mj, ""), (e.mj_per_mmac, "/M MACs"), (e.mj_per_mb, "/MB"))
        energy = f"{terms} mJ, {e.scope}"
    return r.kernel, _conditions(r), "fitted", ms, energy, f"{r.n} networks, ±{r.cv_error:.1%}", r.source


def _terms(*terms: tuple[float, str]) -> str:
    return " + ".join(f"{value:g}{unit}" for value, unit in terms if value)


def _conditions(item: Any) -> str:
    threads = "1 thread" if item.threads == 1 else f"{item.threads} threads"
    return f"{item.backend} {item.precision}, {threads}"


command = devices
