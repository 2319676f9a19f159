"""`eetool run`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.artefact_arguments import ArtefactType
from eetool.cli.options import BUNDLE
from eetool.cli.output import CommandResult, table, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.stream_run import run_stream
from eetool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from eetool.data.folder_inputs import InputFile
    from eetool_runtime import Model


_INPUT = ArtefactType(("image", "images", "npy", "text"), takes="images, folders of them, .npy arrays and .txt files")


@dataclass(frozen=True)
class RunRequest:
    """Options of `eetool run`."""

    bundle: Path
    inputs: tuple[Path, ...]
    variant: str
    operating_point: str | None
    threshold: float | None
    stream: bool
    threads: int | None


@verb_with_request(RunRequest)
@click.argument("bundle", type=BUNDLE)
@click.argument("inputs", type=_INPUT, nargs=-1, required=True)
@click.option("--variant", default="auto", show_default=True, help="Such as onnx/int8; auto: the first that runs here.")
@click.option("--operating-point", default=None, help="Operating point of the thresholds.  [the bundle's default]")
@click.option("--threshold", type=float, default=None, help="One threshold for every early exit instead.")
@click.option(
    "--stream/--no-stream",
    default=False,
    help="INPUTS are frames in their order, one sequence per folder: use the bundle's policy for streams.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=None,
    help="Threads of each call.  [that in the bundle for this machine, or 1]",
)
def run(request: RunRequest) -> CommandResult:
    """Classify INPUTS with early exit: images, folders of them, .npy arrays with one input or a batch, .txt files.

    Images become the size of the model by the rule of its training, and it is said. Where the folders inside a folder
    are called after the classes, the accuracy is printed. Files that cannot be read are named at the end, with exit
    code 3; the others are answered.
    """
    from eetool.data.file_notes import FileNotes
    from eetool.data.folder_inputs import find_inputs
    from eetool.data.input_files import read_inputs
    from eetool.data.refused_files import refused_files, value_or_error
    from eetool.errors import ArtefactError, UsageError
    from eetool_runtime import load

    if request.operating_point is not None and request.threshold is not None:
        raise UsageError("give --operating-point or --threshold, not both")
    model = load(request.bundle, variant=request.variant, threads=request.threads, pool="process")
    if request.stream:
        return run_stream(model, request.inputs, request.operating_point, request.threshold)
    if request.operating_point is not None or request.threshold is not None:
        model.use(request.operating_point, threshold=request.threshold)
    results: list[dict[str, Any]] = []
    errors: list[ArtefactError] = []
    progress, notes = TerminalProgress(), FileNotes()
    files = [file for path in request.inputs for file in find_inputs(path, model.labels, notes)]
    with progress("files", len(files)) as advance:
        for file in files:
            arrays = value_or_error(partial(read_inputs, file.path, model, progress, notes))
            if isinstance(arrays, ArtefactError):
                errors.append(arrays)
            else:
                results += _predictions(file, arrays, model)
            advance(1)
    problem = refused_files(errors, len(files)) if errors else None
    if problem is not None and not results:
        raise problem
    for line in notes.lines():
        progress.note(line)
    stats = model.stats()
    accuracy = _accuracy(results)
    document = {"results": results, "accuracy": accuracy, "stats": stats}
    return CommandResult("run/1", document, _text(results, stats, accuracy), problem)


def _predictions(file: "InputFile", arrays: "Sequence[np.ndarray]", model: "Model") -> list[dict[str, Any]]:
    path = file.path
    names = [str(path) if len(arrays) == 1 else f"{path}[{i}]" for i in range(len(arrays))]
    return [
        {
            "input": name,
            "label": result.label,
            "index": result.index,
            "expected": file.expected,
            "exit": result.exit,
            "confidence": result.confidence,
            "probabilities": result.probabilities.tolist(),
            "latency_ms": result.latency_ms,
        }
        for name, result in ((name, model(array)) for name, array in zip(names, arrays, strict=True))
    ]


def _accuracy(results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return how many of the inputs with a known class are right; None where there are none."""
    right = [r["label"] == r["expected"] for r in results if r["expected"] is not None]
    return {"n": len(right), "right": sum(right), "accuracy": sum(right) / len(right)} if right else None


def _text(results: list[dict[str, Any]], stats: dict[str, Any], accuracy: dict[str, Any] | None) -> list[Any]:
    rows = [
        (str(r["input"]), str(r["label"]), f"{r['confidence']:.4f}", str(r["exit"]), f"{r['latency_ms']:.3f} ms")
        for r in results
    ]
    columns = {"input": "left", "label": "left", "confidence": "right", "exit": "right", "latency": "right"}
    count = counted(stats["calls"], "input")
    lines = (
        []
        if accuracy is None
        else [
            f"accuracy {100 * accuracy['accuracy']:.2f} %, of {accuracy['n']} images whose folder names their "
            "class; images of the training, if any are among them, raise it"
        ]
    )
    return [
        table(columns, rows),
        *lines,
        f"{count}, mean exit depth {stats['mean_exit_depth']:.2f} of {len(stats['exit_counts']) - 1}, "
        f"compute saved {100 * stats['compute_saved']:.0f} %",
    ]


command = run
