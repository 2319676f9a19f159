"""Output of `eetool table` and `eetool devices`: the latency table and the facts of a hw profile."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds
from eetool.cli.output import CommandResult, table
from eetool.wording import counted, scope_words

if TYPE_CHECKING:
    from eetool.errors import UnstableError
    from eetool.latency.check.table_check import TableCheck
    from eetool.latency.table.hw_profile import HwProfile
    from eetool.latency.table.table import Composition, Regression, TableEntry
    from eetool.latency.table.weight_streaming import WeightStreaming

# Coefficients of time and of energy: a constant, per million MACs, per megabyte.
_REGRESSION_COLUMNS = {
    "kernel": "left",
    **dict.fromkeys(("ms", "ms/MMAC", "ms/MB", "mJ", "mJ/MMAC", "mJ/MB", "n", "error"), "right"),
}
_COVERAGE_WIDTH = 26  # so that the list of devices fits into 80 columns
_MAX_ENTRIES = 40  # a measured table has thousands; --json prints all


def built_result(profile: "HwProfile", output: Path) -> CommandResult:
    """Return the result of a table that was written to `output`."""
    from eetool.latency.table.hw_profile import SCHEMA, profile_document

    lines = [f"{output}: {len(profile.table)} entries of {profile.title}"]
    lines += [
        f"{c.backend} {c.precision}, {counted(c.threads, 'thread')}: dispatch {c.dispatch_ms * 1e3:.1f} "
        f"µs, whole probes left out "
        f"of the table predicted within {c.cv_error:.1%} (median of {c.n})"
        for c in profile.compositions
    ]
    return CommandResult(SCHEMA, profile_document(profile), lines)


def device_result(device: str) -> CommandResult:
    """Return the hw profile of `device`, with its facts, power and table as text."""
    from eetool.latency.table.hw_profile import SCHEMA, load_device, profile_document

    profile = load_device(device)
    return CommandResult(SCHEMA, profile_document(profile), _device_text(profile))


def table_result(device: str) -> CommandResult:
    """Return the hw profile of `device`, with its latency table as text."""
    from eetool.latency.table.hw_profile import SCHEMA, load_device, profile_document

    profile = load_device(device)
    text = [f"{profile.name}: {profile.title}", *_table_lines(profile), *_source_lines(profile)]
    return CommandResult(SCHEMA, profile_document(profile), text)


def check_result(check: "TableCheck", problem: "UnstableError | None") -> CommandResult:
    """Return the result of a check of a table: factors by class, and what becomes of them."""
    from eetool.latency.check.correction import check_remarks
    from eetool.latency.check.table_check import SCHEMA

    rows = [
        (
            f"{part.backend} {part.precision}, {counted(part.threads, 'thread')}",
            factor.kernels,
            f"{factor.factor:.2f}",
            "–".join(f"{bound:.2f}" for bound in factor.interval),
            "yes" if factor.applied else "no",
        )
        for part in check.conditions
        for factor in part.factors
    ]
    probes = sum(len(part.probes) for part in check.conditions)
    columns = {"table": "left", "kernels": "left", **dict.fromkeys(("now / then", "90% interval", "applied"), "right")}
    text = [
        f"{check.device}: {counted(probes, 'reference probe')} in {check.seconds:.1f} s",
        table(columns, rows),
        *(f"warning: {remark}" for remark in check_remarks(check)),
    ]
    if not any(factor.applied for part in check.conditions for factor in part.factors) and not check.reasons:
        text.append("the table holds: no speed changed by more than 5 %")
    return CommandResult(SCHEMA, vars(check), text, problem)


def describe_coverage(profile: "HwProfile") -> str:
    """Return the number of measured and fitted entries of the table, in words."""
    measured, fitted, kinds = profile.entries("measured"), profile.entries("fitted"), len(profile.regressions)
    parts = [f"{measured} measured"] if measured else []
    parts += [f"{fitted} fitted entries"] if fitted else []
    parts += [f"{kinds} fitted kinds"] if kinds else []
    return ", ".join(parts) or "nothing: its table is empty"


@dataclass(frozen=True)
class TableCoverage:
    """Kinds of kernels that a table has figures of, for one backend and precision."""

    backend: str
    precision: str
    kernels: tuple[str, ...]


def table_coverage(profile: "HwProfile") -> list[TableCoverage]:
    """Return the kinds of kernels of a table by backend and precision, fp32 first."""
    from eetool.latency.estimate.coverage import POINTWISE

    kinds: dict[tuple[str, str], set[str]] = {}
    for entry in profile.table:
        kinds.setdefault((entry.precision, entry.backend), set()).add(entry.kernel)
    for r in profile.regressions:
        kinds.setdefault((r.precision, r.backend), set()).add(POINTWISE if r.pointwise else r.kernel)
    return [
        TableCoverage(backend, precision, tuple(sorted(kinds[precision, backend])))
        for precision, backend in sorted(kinds)
    ]


def coverage_words(profile: "HwProfile") -> str:
    """Return precisions and kinds of kernels of a table, and the precisions that it lacks."""
    rows = table_coverage(profile)
    lines = [
        line
        for row in rows
        for line in textwrap.wrap(
            f"{row.backend} {row.precision}: {', '.join(row.kernels)}", _COVERAGE_WIDTH, subsequent_indent="  "
        )
    ]
    held = {row.precision for row in rows}
    lines += [f"no {precision}" for precision in ("fp32", "int8") if rows and precision not in held]
    return "\n".join(lines) or "none"


def conditions(item: "TableEntry | Regression | Composition") -> str:
    """Return backend, precision and threads of an item of a table, in words."""
    threads = counted(item.threads, "thread")
    return f"{item.backend} {item.precision}, {threads}"


def _device_text(profile: "HwProfile") -> list[Any]:
    facts = profile.facts
    lines: list[Any] = [
        f"{profile.name}: {profile.title}",
        f"{facts.soc}, {facts.cores} × {facts.cpu} at {facts.clock_mhz or 'unknown'} MHz, {', '.join(facts.isa)}",
        f"memory: {', '.join(str(size) for size in facts.memory_mib)} MiB",
    ]
    if profile.power:
        rows = [(p.state, f"{p.power_w:g} W", scope_words(p.scope), p.provenance, p.source) for p in profile.power]
        lines.append(table(dict.fromkeys(("state", "power", "scope", "provenance", "source"), "left"), rows))
    else:
        lines.append("power: not known")
    return [*lines, *_table_lines(profile), *_source_lines(profile)]


def _source_lines(profile: "HwProfile") -> list[str]:
    return [f"source {source.id}: {source.title} ({source.licence})" for source in profile.sources]


def _table_lines(profile: "HwProfile") -> list[Any]:
    if not profile.table and not profile.regressions:
        return ["latency table: empty, so no latency can be predicted for this device"]
    lines: list[Any] = [f"latency table: {describe_coverage(profile)}", *coverage_words(profile).split("\n")]
    shown = profile.table[:_MAX_ENTRIES]
    for (of, kind, source), entries in _grouped(shown):
        lines.append(f"{of}, {kind}, source {source}")
        columns = dict.fromkeys(("kernel", "sizes", "ms", "uncertainty"), "left")
        lines.append(table(columns, list(map(_entry_row, entries))))
    if len(profile.table) > len(shown):
        lines.append(f"… and {len(profile.table) - len(shown)} more; --json prints all of them")
    for (of, kind, source), regressions in _grouped(profile.regressions):
        scopes = sorted({r.energy.scope for r in regressions if r.energy is not None})
        lines.append(f"{of}, {kind}, source {source}; energy: {', '.join(map(scope_words, scopes)) or 'not known'}")
        lines.append(table(_REGRESSION_COLUMNS, list(map(_regression_row, regressions))))
    lines += [
        f"whole graphs, {conditions(c)}: {milliseconds(c.dispatch_ms)} ms a call; "
        + (
            f"error ±{c.cv_error:.1%} on {counted(c.n, 'network')} left out"
            if c.n
            else "compared with no whole network"
        )
        + ("" if c.ratio_error is None else f", ±{c.ratio_error:.1%} of ratios of similar ones")
        for c in profile.compositions
    ]
    lines += [_cascade_line(c) for c in profile.compositions if c.turn_ms_per_mb is not None]
    lines += [_streaming_line(c, c.streaming) for c in profile.compositions if c.streaming is not None]
    return lines


def _streaming_line(c: "Composition", streaming: "WeightStreaming") -> str:
    return (
        f"networks of more than {streaming.resident_mb:g} MB of weights, {conditions(c)}: up to another "
        f"{milliseconds(streaming.ms_per_mb)} ms per megabyte, {milliseconds(streaming.ms_per_kernel)} ms per kernel"
    )


def _cascade_line(c: "Composition") -> str:
    call_ms = _bounds(c.component_dispatch_ms, c.component_error_ms)
    evicted_ms = _bounds(c.turn_ms_per_mb or 0.0, c.turn_error_ms_per_mb)
    source = f", source {c.cascade_source}" if c.cascade_source else ""
    return (
        f"cascades, {conditions(c)}: {call_ms} ms a graph after the first, {evicted_ms} ms per evicted megabyte{source}"
    )


def _bounds(value: float, error: float | None) -> str:
    if not error:
        return milliseconds(value)
    return f"{milliseconds(max(0.0, value - error))} to {milliseconds(value + error)}"


def _grouped(items: Sequence[Any]) -> list[tuple[tuple[str, str, str], list[Any]]]:
    """Return items of a table grouped by conditions, kind (fitted or measured) and source."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for item in items:
        groups.setdefault((conditions(item), getattr(item, "kind", "fitted"), item.source), []).append(item)
    return list(groups.items())


def _entry_row(entry: "TableEntry") -> tuple[str, ...]:
    if entry.kind == "measured":
        uncertainty = f"median of {entry.count}, spread {milliseconds(entry.spread_ms)}"
    else:
        uncertainty = f"{entry.n} measurements, ±{entry.cv_error:.1%}"
    sizes = " ".join(f"{name}={value}" for name, value in entry.shape.items())
    return entry.kernel, sizes, milliseconds(entry.ms), uncertainty


def _regression_row(r: "Regression") -> tuple[str, ...]:
    coefficients: list[float | None] = [r.constant_ms, r.ms_per_mmac, r.ms_per_mb]
    e = r.energy
    coefficients += [e.constant_mj, e.mj_per_mmac, e.mj_per_mb] if e is not None else [None] * 3
    name = f"{r.kernel}, 1×1" if r.pointwise else r.kernel
    return name, *("–" if c is None else f"{c:.3g}" for c in coefficients), str(r.n), f"±{r.cv_error:.0%}"
