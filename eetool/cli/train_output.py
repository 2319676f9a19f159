"""Result of `eetool train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint
    from eetool.model.history import TrainingHistory


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
    if spec.taps:
        full = int(costs.leaving((None,) * len(spec.taps))[-1])
        text.append(f"full depth without early exits, `full` of tune: {full / 1e6:.2f} M MACs")
    if accuracies:
        text.append(f"accuracy of each exit alone on {counted(n, 'held-out example')} (split threshold)")
    history = checkpoint.record.history
    if history is not None:
        text.append(kept_epoch_line(history, checkpoint.record.training.keep))
    text.append(f"wrote {output}")
    document = {
        "output": str(output),
        "model": spec.backbone,
        "exits": exits,
        "split": "threshold" if accuracies else None,
        "n": n,
        "history": history,
    }
    return CommandResult("train/1", document, text)


def kept_epoch_line(history: "TrainingHistory", keep: str) -> str:
    """Return which epoch was kept, and by which examples."""
    kept = f"epoch {history.kept_epoch} of {len(history.epochs)} was kept"
    if not history.kept_epoch:
        kept = f"of {counted(len(history.epochs), 'epoch')} none was kept, but the weights before the first"
    if keep != "best" or history.split is None:
        return f"{kept}, the last one"
    return (
        f"{kept}: the last one whose mean accuracy over exits is within a standard error of the best "
        f"({counted(history.examples, 'example')} of the split {history.split}, which are thereby used for a choice)"
    )
