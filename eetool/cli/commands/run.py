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
from eetool.cli.server_options import server_options, server_request
from eetool.cli.stream_run import run_stream
from eetool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from eetool.data.folder_inputs import InputFile
    from eetool.progress import Progress
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
    offload_url: str | None
    offload_timeout_ms: float | None
    offload_fallback: str | None
    offload_token_file: Path | None
    offload_ca: Path | None
    offload_certificate: Path | None
    offload_key: Path | None


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
@server_options("--offload", "Server that BUNDLE asks for what lies behind its cut.")
def run(request: RunRequest) -> CommandResult:
    """Classify INPUTS with early exit: images, folders of them, .npy arrays with one input or a batch, .txt files.

    Images become the size of the model by the rule of its training, and it is said. Where the folders inside a folder
    are called after the classes, the accuracy is printed. Files that cannot be read are named at the end, with exit
    code 3; the others are answered.

    With --offload URL a server computes what lies behind the cut of BUNDLE. Of each input it is said which of the two
    answered, and why the server did not.
    """
    from eetool.data.file_notes import FileNotes
    from eetool.data.folder_inputs import find_inputs
    from eetool.data.input_files import read_inputs
    from eetool.data.refused_files import refused_files, value_or_error
    from eetool.errors import ArtefactError, UsageError
    from eetool_runtime import load

    if request.operating_point is not None and request.threshold is not None:
        raise UsageError("give --operating-point or --threshold, not both")
    progress, offload = TerminalProgress(), server_request(request).offload("--offload")
    if request.stream and offload is not None:
        raise UsageError("--offload answers single inputs, and --stream sequences", "Give one of them.")
    settings: dict[str, Any] = {} if offload is None else {"offload": offload}
    model = load(request.bundle, variant=request.variant, threads=request.threads, pool="process", **settings)
    if offload is not None:
        _check_server(model, progress)
    if request.stream:
        return run_stream(model, request.inputs, request.operating_point, request.threshold)
    if request.operating_point is not None or request.threshold is not None:
        model.use(request.operating_point, threshold=request.threshold)
    results: list[dict[str, Any]] = []
    errors: list[ArtefactError] = []
    notes = FileNotes()
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
    text = _text(results, stats, accuracy, offload is not None)
    return CommandResult("run/1", document, text, problem)


def _check_server(model: "Model", progress: "Progress") -> None:
    """Connect before the first input, and note where the server cannot be asked."""
    from eetool_runtime.offload import OffloadError
    from eetool_runtime.offload.model import OffloadingModel

    assert isinstance(model, OffloadingModel)
    try:
        model.check_server()
    except OffloadError as error:
        progress.note(f"warning: the server is not asked: {error.message}")


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
            "where": result.where,
            "offload": result.offload,
        }
        for name, result in ((name, model(array)) for name, array in zip(names, arrays, strict=True))
    ]


def _accuracy(results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return how many of the inputs with a known class are right; None where there are none."""
    right = [r["label"] == r["expected"] for r in results if r["expected"] is not None]
    return {"n": len(right), "right": sum(right), "accuracy": sum(right) / len(right)} if right else None


def _answered_by(result: dict[str, Any]) -> str:
    """Return device or server, and the outcome where a server did not answer."""
    outcome = result["offload"]
    return str(result["where"]) if outcome in (None, "ok") else f"{result['where']}: {outcome}"


def _text(
    results: list[dict[str, Any]], stats: dict[str, Any], accuracy: dict[str, Any] | None, with_server: bool
) -> list[Any]:
    rows = [
        (
            *(str(r["input"]), str(r["label"]), f"{r['confidence']:.4f}", str(r["exit"])),
            *([_answered_by(r)] if with_server else []),
            f"{r['latency_ms']:.3f} ms",
        )
        for r in results
    ]
    columns = {"input": "left", "label": "left", "confidence": "right", "exit": "right"}
    columns |= {**({"by": "left"} if with_server else {}), "latency": "right"}
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
