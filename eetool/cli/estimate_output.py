"""Latency and energy of a model, estimated from the table of a device: `eetool estimate`."""

from typing import TYPE_CHECKING, Any

from eetool.api.device_estimate import EstimateRequest, make_estimate
from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.output import CommandResult, table
from eetool.cli.progress_bars import TerminalProgress
from eetool.wording import counted, cut_remarks, scope_words

if TYPE_CHECKING:
    from eetool.bench.device_comparison import DeviceComparison, Estimate
    from eetool.latency.estimate.energy import Energy
    from eetool.latency.table.hw_profile import HwProfile

_LEAST_SHARE = 0.01
_PLAIN_DIFFERENCE = 0.03  # smaller differences of plain calls are not shown

__all__ = ["EstimateRequest", "estimate_result"]


def estimate_result(request: EstimateRequest) -> CommandResult:
    """Return the estimated latency and energy of `request.input`, and its verdict for the device."""
    from eetool.latency.estimate.predictor import SCHEMA
    from eetool.latency.table.hw_profile import load_device

    estimate = make_estimate(request, TerminalProgress())
    return CommandResult(SCHEMA, vars(estimate), estimate_text(estimate, load_device(request.device)))


def estimate_text(p: "Estimate", profile: "HwProfile") -> list[Any]:
    """Return lines and tables that show an estimate: coverage first, the verdict last."""
    from eetool.latency.estimate.coverage import coverage_text

    threads = counted(p.threads, "thread")
    lines: list[Any] = [
        f"{p.model} {p.variant}, predicted for {p.device} ({p.backend}, {p.precision}, {threads}), batch {p.batch}",
        *(f"warning: {warning}" for warning in p.warnings),
    ]
    if p.reason is not None:
        return [*lines, f"no figures: {p.reason}", "`eetool table build` on the device measures such a table."]
    titles = {source.id: source.title for source in profile.sources}
    lines += [*coverage_text(p.coverage, titles), *_unprobed_lines(p), ""]
    lines += [
        _graph_table(p),
        "measured: share of the ms that rests on measured entries of exactly these kernels",
        *_plain_calls(p),
        *_energies(p),
    ]
    if p.exits:
        lines.append("Leaving at each exit, all components that ran")
        lines.append(_exit_table(p))
    if p.comparison is not None:
        lines += _comparison_lines(p.comparison, p.confidence)
    return lines


def _comparison_lines(c: "DeviceComparison", confidence: float) -> list[Any]:
    from eetool.metrics import degenerate_exit

    source = f"accuracy on {c.data}" if c.data else "accuracy as tune recorded it; --data SOURCE measures it"
    lines: list[Any] = [
        "Mean over inputs, unsplit and at each operating point",
        _comparison_table(c, confidence),
        f"ratio: mean ms / that of unsplit, with its 95 % interval: both are priced by one table; {source}",
    ]
    lines += [f"{row.name}: no figures: {row.reason}" for row in c.rows if row.reason]
    lines += [f"{missing.variant}: no figures: {missing.reason}" for missing in c.missing]
    lines += cut_remarks({row.name: degenerate_exit(row.exit_shares or ()) for row in c.rows})
    return lines if c.verdict is None else [*lines, "", c.verdict.text]


def _comparison_table(c: "DeviceComparison", confidence: float) -> Any:
    rows = [
        (
            row.name,
            "not known" if row.accuracy is None else percent(row.accuracy, 2),
            "not known" if row.latency_ms is None else milliseconds(row.latency_ms),
            _interval(row.interval_ms),
            "" if row.latency_ratio is None else f"{row.latency_ratio:.2f}",
            "–".join(f"{bound:.2f}" for bound in row.latency_ratio_ci95),
            shares(row.exit_shares) if row.exit_shares is not None else "",
            _energy(row.energy_mj),
        )
        for row in c.rows
    ]
    right = ("acc %", "ms", f"{confidence:.0%} interval", "ratio", "95% interval", "exits %", "mJ")
    return table({"net": "left", **dict.fromkeys(right, "right")}, rows)


def _graph_table(p: "Estimate") -> Any:
    rows = [
        (
            graph.name,
            f"{graph.macs / 1e6:.2f}",
            milliseconds(graph.latency_ms),
            _interval(graph.interval_ms),
            _energy(graph.energy_mj),
            f"{graph.measured_share:.0%}",
        )
        for graph in p.graphs
    ]
    right = ("MACs (M)", "ms", f"{p.confidence:.0%} interval", "mJ", "measured")
    return table({"component": "left", **dict.fromkeys(right, "right")}, rows)


def _unprobed_lines(p: "Estimate") -> list[str]:
    """Return the kernels without a near probe that take at least a hundredth of the time."""
    shown = [f"{row.kernels}: {row.share:.0%}" for row in p.unprobed if row.share >= _LEAST_SHARE]
    return [f"  no probe of the table is near to: {'; '.join(shown)}"] if shown else []


def _plain_calls(p: "Estimate") -> list[str]:
    """Return the protocol of the times, and those of plain calls where they differ by more than 3 %."""
    lines = ["ms: calls with bound buffers, as the runtime makes them"]
    for graph in p.graphs:
        if graph.plain_call_ms is not None and graph.plain_call_ms > (1 + _PLAIN_DIFFERENCE) * graph.latency_ms:
            more = graph.plain_call_ms / graph.latency_ms - 1
            lines.append(f"{graph.name}: {milliseconds(graph.plain_call_ms)} ms by plain calls ({more:+.0%})")
    return lines


def _exit_table(p: "Estimate") -> Any:
    rows = [
        (
            str(at.exit),
            f"{at.macs / 1e6:.2f}",
            milliseconds(at.latency_ms),
            _interval(at.interval_ms),
            _energy(at.energy_mj),
        )
        for at in p.exits
    ]
    right = ("exit", "MACs (M)", "ms", f"{p.confidence:.0%} interval", "mJ")
    return table(dict.fromkeys(right, "right"), rows)


def _interval(interval: tuple[float, ...]) -> str:
    return "–".join(milliseconds(bound) for bound in interval)


def _energy(energy: "Energy") -> str:
    return "not known" if energy.value is None else f"{energy.value:.3g}"


def _energies(p: "Estimate") -> list[str]:
    kinds = sorted(
        {
            f"{scope_words(g.energy_mj.scope)}, {g.energy_mj.provenance}"
            for g in p.graphs
            if g.energy_mj.value is not None
        }
    )
    return [f"mJ: {kind}" for kind in kinds]
