"""`eetool profile MODEL --device NAME`: what a device's table says of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds, shares
from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.latency.estimate.energy import Energy
    from eetool.latency.estimate.predictor import Prediction


def estimate_result(
    path: Path, device: str, variant: str, threads: tuple[int, ...], watts: float | None, named: tuple[str, ...]
) -> CommandResult:
    """Predict a bundle, checkpoint or ONNX file; the first thread count counts, by default one thread."""
    from eetool.export.temporary_bundle import temporary_bundle
    from eetool.latency.estimate.prediction_target import open_target, predictable_variants, target_of_variant
    from eetool.latency.estimate.predictor import SCHEMA, Predictor, predict
    from eetool.latency.table.hw_profile import load_device
    from eetool.latency.table.table import BACKENDS

    profile = load_device(device)
    with open_target(path, temporary_bundle, named) as found:
        variants = predictable_variants(found)
        held = {e.backend for e in profile.table} | {r.backend for r in profile.regressions}
        fitting = [v for v in variants if BACKENDS[v.split("/")[0]] in held]
        chosen = variant if variant != "auto" else (fitting or list(variants))[0]
        backend, precision = BACKENDS.get(chosen.split("/")[0], chosen), chosen.split("/")[-1]
        predictor = Predictor(profile, backend, precision, threads[0] if threads else 1, watts)
        prediction = predict(target_of_variant(found, chosen, predictor.channel_block), predictor)
    return CommandResult(SCHEMA, vars(prediction), prediction_text(prediction))


def prediction_text(p: "Prediction") -> list[Any]:
    """The document for people."""
    threads = f"{p.threads} threads" if p.threads > 1 else "1 thread"
    lines: list[Any] = [
        f"{p.model} {p.variant}, predicted for {p.device} ({p.backend}, {p.precision}, {threads}), batch 1",
        *(f"warning: {warning}" for warning in p.warnings),
        "",
        _graph_table(p),
        "measured: share of the ms that rests on measured entries of exactly these kernels",
        *_energies(p),
    ]
    if p.exits:
        lines.append("Leaving at each exit, everything that ran")
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
