"""`eetool run`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.options import BUNDLE, PATH
from eetool.cli.output import CommandResult, TerminalProgress, table, verb

if TYPE_CHECKING:
    from eetool_runtime import Model


@verb
@click.argument("bundle", type=BUNDLE)
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@click.option("--variant", default="auto", show_default=True)
@click.option("--operating-point", default=None, help="Where the thresholds come from.  [the bundle's default]")
@click.option("--threshold", type=float, default=None, help="One threshold for every early exit instead.")
@click.option("--threads", type=click.IntRange(1), default=None)
def run(
    bundle: Path,
    inputs: tuple[Path, ...],
    variant: str,
    operating_point: str | None,
    threshold: float | None,
    threads: int | None,
) -> CommandResult:
    """Predict INPUTS with early exit: images, .npy arrays with one input or a batch, .txt files of texts."""
    from eetool.errors import UsageError
    from eetool_runtime import load

    if operating_point is not None and threshold is not None:
        raise UsageError("give --operating-point or --threshold, not both")
    model = load(bundle, variant=variant, threads=threads, pool="process")
    if operating_point is not None or threshold is not None:
        model.use(operating_point, threshold=threshold)
    results: list[dict[str, Any]] = []
    with TerminalProgress()("files", len(inputs)) as advance:
        for path in inputs:
            results += _answers(path, model)
            advance(1)
    rows = [
        (str(r["input"]), str(r["label"]), f"{r['confidence']:.4f}", str(r["exit"]), f"{r['latency_ms']:.3f} ms")
        for r in results
    ]
    columns = {"input": "left", "label": "left", "confidence": "right", "exit": "right", "latency": "right"}
    stats = model.stats()
    count = f"{stats['calls']} input" + "s" * (stats["calls"] != 1)
    text = [
        table(columns, rows),
        f"{count}, mean exit depth {stats['mean_exit_depth']:.2f} of {len(stats['exit_counts']) - 1}, "
        f"compute saved {100 * stats['compute_saved']:.0f} %",
    ]
    return CommandResult("run/1", {"results": results, "stats": stats}, text)


def _answers(path: Path, model: "Model") -> list[dict[str, Any]]:
    from eetool.data.input_files import read_inputs

    arrays = read_inputs(path, model)
    names = [str(path) if len(arrays) == 1 else f"{path}[{i}]" for i in range(len(arrays))]
    return [
        {
            "input": name,
            "label": result.label,
            "index": result.index,
            "exit": result.exit,
            "confidence": result.confidence,
            "probabilities": result.probabilities.tolist(),
            "latency_ms": result.latency_ms,
        }
        for name, result in ((name, model(array)) for name, array in zip(names, arrays, strict=True))
    ]


command = run
