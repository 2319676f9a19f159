"""Latency and energy of a model, estimated from the table of a device: `eetool estimate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds, shares
from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.latency.estimate.energy import Energy
    from eetool.latency.estimate.predictor import Prediction


@dataclass(frozen=True)
class EstimateRequest:
    """Options of `eetool estimate`.

    Attributes:
        input: a bundle, checkpoint or ONNX file.
        device: a known device or a hw profile.
        variant: a variant of the bundle; `auto` is the first that the table covers.
        watts: power of the board, from which energy is estimated.
        named: factories that a checkpoint may be made of.
    """

    input: Path
    device: str
    variant: str
    threads: int
    watts: float | None
    named: tuple[str, ...]


def estimate_result(request: EstimateRequest) -> CommandResult:
    """Return the estimated latency and energy of `request.input`."""
    from eetool.api.estimating import estimate_file
    from eetool.latency.estimate.predictor import SCHEMA

    prediction = estimate_file(
        request.input, request.device, request.variant, request.threads, request.watts, request.named
    )
    return CommandResult(SCHEMA, vars(prediction), prediction_text(prediction))


def prediction_text(p: "Prediction") -> list[Any]:
    """Return lines and tables that show a prediction."""
    threads = f"{p.threads} threads" if p.threads > 1 else "1 thread"
    lines: list[Any] = [
        f"{p.model} {p.variant}, predicted for {p.device} ({p.backend}, {p.precision}, {threads}), batch {p.batch}",
        *(f"warning: {warning}" for warning in p.warnings),
        "",
        _graph_table(p),
        "measured: share of the ms that rests on measured entries of exactly these kernels",
        *_energies(p),
    ]
    if p.exits:
        lines.append("Leaving at each exit, all components that ran")
        lines.append(_exit_table(p))
    if p.means:
        lines.append("Mean over inputs, by the exit shares of each operating point")
        lines.append(_mean_table(p))
    return lines


def _graph_table(p: "Prediction") -> Any:
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


def _exit_table(p: "Prediction") -> Any:
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


def _mean_table(p: "Prediction") -> Any:
    rows = [
        (
            mean.operating_point,
            shares(mean.exit_shares),
            milliseconds(mean.latency_ms),
            _interval(mean.interval_ms),
            _energy(mean.energy_mj),
        )
        for mean in p.means
    ]
    right = ("ms", f"{p.confidence:.0%} interval", "mJ")
    return table({"operating point": "left", "exits %": "right", **dict.fromkeys(right, "right")}, rows)


def _interval(interval: tuple[float, ...]) -> str:
    return f"{milliseconds(interval[0])}–{milliseconds(interval[1])}"


def _energy(energy: "Energy") -> str:
    return "not known" if energy.value is None else f"{energy.value:.3g}"


def _energies(p: "Prediction") -> list[str]:
    kinds = sorted(
        {f"{g.energy_mj.scope}, {g.energy_mj.provenance}" for g in p.graphs if g.energy_mj.value is not None}
    )
    return [f"mJ: {kind}" for kind in kinds]
