"""Result of `eetool train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint


def train_result(output: Path, checkpoint: "Checkpoint", accuracies: list[float] | None, n: int) -> CommandResult:
    """Return the exits of a trained model, with their cost and accuracy."""
    from eetool.tune.exit_costs import model_macs

    spec = checkpoint.record.spec
    costs = model_macs(spec)
    macs = costs.leaving((0.0,) * len(spec.taps)).tolist()
    exits: list[dict[str, Any]] = [
        {"exit": i, "tap": tap, "macs": int(cost), "accuracy": accuracies[i] if accuracies else None}
        for i, (tap, cost) in enumerate(zip((*spec.taps, None), macs, strict=True))
    ]
    rows = [
        (
            str(e["exit"]),
            e["tap"] or "final",
            f"{e['macs'] / 1e6:.2f} M",
            "–" if e["accuracy"] is None else f"{100 * e['accuracy']:.2f} %",
        )
        for e in exits
    ]
    columns = {"exit": "right", "tap": "left", "MACs to leave": "right", "accuracy": "right"}
    text: list[Any] = [table(columns, rows)]
    if accuracies:
        text.append(f"accuracy of each exit alone on {n} held-out examples (split threshold)")
    text.append(f"wrote {output}")
    document = {
        "output": str(output),
        "model": spec.backbone,
        "exits": exits,
        "split": "threshold" if accuracies else None,
        "n": n,
    }
    return CommandResult("train/1", document, text)
