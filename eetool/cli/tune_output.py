"""What `eetool tune` has to say."""

from pathlib import Path
from typing import Any

from eetool.cli.number_format import percent
from eetool.cli.output import CommandResult, table


def tune_result(output: Path, tuned: Any, max_accuracy_drop: float, costs: Any = None) -> CommandResult:
    """The answer; `costs` are what components cost on a device and the mean at every point, where one was given."""
    priced, means = costs or (None, {})
    rows = []
    for name, point in tuned.operating_points.items():
        e = point.expected
        rows.append(
            (
                name,
                "  ".join("never" if t is None else f"{t:.4f}" for t in point.thresholds),
                f"{100 * e.accuracy:.2f} %",
                f"{e.mean_macs / 1e6:.2f} M",
                *([f"{means[name]:.4g}"] if priced else []),
                "  ".join(f"{100 * share:.0f} %" for share in e.exit_shares),
            )
        )
    columns = {
        "point": "left",
        "thresholds": "left",
        "accuracy": "right",
        "mean MACs": "right",
        **({f"mean {priced.unit}": "right"} if priced else {}),
        "leave at exit 0, 1, …": "left",
    }
    e = tuned.operating_points["full"].expected
    text: list[Any] = [
        table(columns, rows),
        "what exits are worth to the inputs that reach them at balanced, in %:",
        _exits(tuned.diagnoses["balanced"]),
        f"fitted on {e.n} examples (split {e.split}); `eetool bench` measures on others",
    ]
    if priced:
        scope = f", {priced.scope}" if priced.scope else ""
        text.append(f"{priced.unit} on {priced.device}: {priced.provenance}{scope}; thresholds minimise it")
    if all(t is None for t in tuned.operating_points["fast"].thresholds):
        text.append(
            f"No exit may be used: {e.n} examples cannot support a drop of {max_accuracy_drop} points. "
            "Allow more, or bring more held-out data."
        )
    for name, point in tuned.operating_points.items():
        if point.certificate is not None:
            text.append(_promise(name, point.certificate))
    for name, diagnosis in tuned.diagnoses.items():
        text += _degenerate(name, diagnosis)
    text += [f"warning: {line}" for line in tuned.warnings]
    text.append(f"wrote {output}")
    document = {
        "output": str(output),
        "max_accuracy_drop": max_accuracy_drop,
        "calibration": tuned.calibration.method,
        **vars(tuned.calibration),
        "operating_points": tuned.operating_points,
        "cost": _cost_document(priced, means),
        "diagnoses": tuned.diagnoses,
    }
    return CommandResult("tune/1", document, text)


def _cost_document(priced: Any, means: dict[str, float]) -> dict[str, Any] | None:
    if priced is None:
        return None
    same = {name: getattr(priced, name) for name in ("device", "unit", "provenance", "scope")}
    return {**same, "means": means}


def _promise(name: str, c: Any) -> str:
    return (
        f"{name}: on new data at most {c.max_accuracy_drop} points below full depth, with probability {c.confidence} "
        f"(of {c.n} examples {c.worse} became wrong, {c.better} right; p = {c.p_value:.3g})"
    )


def _degenerate(name: str, diagnosis: Any) -> list[str]:
    """A line where an operating point is no early exit but a shorter static network."""
    if diagnosis.degenerate_exit is None:
        return []
    where = diagnosis.degenerate_exit
    return [f"note: at {name} nearly every input leaves at exit {where}; a net cut there would do as well"]


def _exits(diagnosis: Any) -> Any:
    columns = dict.fromkeys(("exit", "reached by", "accuracy", "ECE", "AUROC", "leave"), "right")
    rows = [
        (str(i), str(e.n), percent(e.accuracy, 2), percent(e.calibration_error), percent(e.auroc), str(e.leave))
        for i, e in enumerate(diagnosis.exits)
    ]
    return table(columns, rows)
