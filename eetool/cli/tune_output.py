"""Result of `eetool tune`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import percent
from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.tune.device_costs import DeviceCosts
    from eetool.tune.exit_diagnostics import Diagnosis
    from eetool.tune.operating_points import TuningResult
    from eetool_runtime.manifest import Certificate


@dataclass(frozen=True)
class DeviceFigures:
    """Costs of components on a device, and the mean cost of an input at every operating point."""

    costs: "DeviceCosts"
    means: dict[str, float]


def tune_result(
    output: Path, tuned: "TuningResult", max_accuracy_drop: float, figures: DeviceFigures | None = None
) -> CommandResult:
    """Return the operating points and the diagnosis of a tuned model."""
    text: list[Any] = [
        _points(tuned, figures),
        "exits at balanced, over the inputs that reach them, in %:",
        _exits(tuned.diagnoses["balanced"]),
        *_notes(tuned, max_accuracy_drop, figures),
        f"wrote {output}",
    ]
    document = {
        "output": str(output),
        "max_accuracy_drop": max_accuracy_drop,
        "calibration": tuned.calibration.method,
        **vars(tuned.calibration),
        "operating_points": tuned.operating_points,
        "cost": _cost_document(figures),
        "diagnoses": tuned.diagnoses,
    }
    return CommandResult("tune/1", document, text)


def _points(tuned: "TuningResult", figures: DeviceFigures | None) -> Any:
    rows = []
    for name, point in tuned.operating_points.items():
        e = point.expected
        assert e is not None  # tuning records the expected figures
        rows.append(
            (
                name,
                "  ".join("never" if t is None else f"{t:.4f}" for t in point.thresholds),
                f"{100 * e.accuracy:.2f} %",
                f"{e.mean_macs / 1e6:.2f} M",
                *([f"{figures.means[name]:.4g}"] if figures else []),
                "  ".join(f"{100 * share:.0f} %" for share in e.exit_shares),
            )
        )
    columns = {
        "point": "left",
        "thresholds": "left",
        "accuracy": "right",
        "mean MACs": "right",
        **({f"mean {figures.costs.unit}": "right"} if figures else {}),
        "leave at exit 0, 1, …": "left",
    }
    return table(columns, rows)


def _notes(tuned: "TuningResult", max_accuracy_drop: float, figures: DeviceFigures | None) -> list[str]:
    e = tuned.operating_points["full"].expected
    assert e is not None  # tuning records the expected figures
    lines = [f"fitted on {e.n} examples (split {e.split}); `eetool bench` measures on others"]
    lines += [f"warning: {line}" for line in tuned.warnings]
    if figures:
        costs = figures.costs
        scope = f", {costs.scope}" if costs.scope else ""
        lines.append(f"{costs.unit} on {costs.device}: {costs.provenance}{scope}; thresholds minimise it")
    if all(t is None for t in tuned.operating_points["fast"].thresholds):
        lines.append(
            f"No exit may be used: {e.n} examples cannot support a drop of {max_accuracy_drop} points. "
            "Allow more, or bring more held-out data."
        )
    for name, point in tuned.operating_points.items():
        if point.certificate is not None:
            lines.append(_certificate_text(name, point.certificate))
    for name, diagnosis in tuned.diagnoses.items():
        lines += _degenerate(name, diagnosis)
    return lines


def _cost_document(figures: DeviceFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    names = ("device", "unit", "provenance", "scope")
    return {**{name: getattr(figures.costs, name) for name in names}, "means": figures.means}


def _certificate_text(name: str, c: "Certificate") -> str:
    return (
        f"{name}: on new data at most {c.max_accuracy_drop} points below full depth, with probability {c.confidence} "
        f"(of {c.n} examples {c.worse} became wrong, {c.better} right; p = {c.p_value:.3g})"
    )


def _degenerate(name: str, diagnosis: "Diagnosis") -> list[str]:
    """Return a line if an operating point amounts to a shorter static network."""
    if diagnosis.degenerate_exit is None:
        return []
    where = diagnosis.degenerate_exit
    return [f"note: at {name} nearly every input leaves at exit {where}; a net cut there would do as well"]


def _exits(diagnosis: "Diagnosis") -> Any:
    columns = dict.fromkeys(("exit", "reached by", "accuracy", "ECE", "AUROC", "leave"), "right")
    rows = [
        (str(i), str(e.n), percent(e.accuracy, 2), percent(e.calibration_error), percent(e.auroc), str(e.leave))
        for i, e in enumerate(diagnosis.exits)
    ]
    return table(columns, rows)
