"""`eetool run --stream`: frames in their order, answered with what the last ones showed."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult, table
from eetool.cli.progress_bars import TerminalProgress
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool_runtime import Model
    from eetool_runtime.stream import FrameStream, StreamResult


def run_stream(model: "Model", inputs: Sequence[Path], point: str | None, threshold: float | None) -> CommandResult:
    """Return the answers to frames; a file that cannot be read is a lost frame, and ends the command with exit code 3.

    Raises:
        UsageError: the bundle has no policy for streams, or no such point, or a threshold is given.
        ArtefactError: no file can be read.
    """
    from eetool.data.file_notes import FileNotes
    from eetool.data.folder_inputs import find_inputs
    from eetool.data.input_files import read_inputs
    from eetool.data.refused_files import refused_files, value_or_error
    from eetool.errors import ArtefactError

    stream = _open(model, point, threshold)
    results: list[dict[str, Any]] = []
    errors: list[ArtefactError] = []
    progress, notes = TerminalProgress(), FileNotes()
    files = [file for path in inputs for file in find_inputs(path, model.labels, notes)]
    with progress("files", len(files)) as advance:
        for number, file in enumerate(files):
            if number and file.path.parent != files[number - 1].path.parent:
                stream.reset()
            arrays = value_or_error(partial(read_inputs, file.path, model, progress, notes))
            if isinstance(arrays, ArtefactError):
                errors.append(arrays)
                arrays = [None]
            names = [str(file.path) if len(arrays) == 1 else f"{file.path}[{i}]" for i in range(len(arrays))]
            for name, array in zip(names, arrays, strict=True):
                results.append(_record(name, file.expected, stream(array, true_label=file.expected)))
            advance(1)
    problem = refused_files(errors, len(files)) if errors else None
    if problem is not None and len(errors) == len(files):
        raise problem
    for line in notes.lines():
        progress.note(line)
    stats = {**stream.stats(), "model": model.bundle.manifest.name, "variant": model.variant}
    return CommandResult("run_stream/1", {"results": results, "stats": stats}, _text(results, stats), problem)


def _open(model: "Model", point: str | None, threshold: float | None) -> "FrameStream":
    from eetool.errors import UsageError

    if threshold is not None:
        raise UsageError("--stream takes an --operating-point of streams, and no --threshold")
    block = model.bundle.manifest.stream
    if block is None or model.variant not in block.operating_points:
        what = "the bundle" if block is None else f"the variant {model.variant}"
        raise UsageError(f"--stream: {what} has no policy for streams", "Fit one with `eetool tune --stream`.")
    return model.stream(point)


def _record(name: str, expected: str | None, result: "StreamResult") -> dict[str, Any]:
    return {
        "input": name,
        "label": result.label,
        "index": result.index,
        "expected": expected,
        "exit": result.exit if result.exit >= 0 else None,
        "confidence": result.confidence,
        "raw_label": result.raw_label,
        "held": result.held,
        "skipped": result.skipped,
        "posterior": result.posterior.tolist(),
        "latency_ms": result.latency_ms,
    }


def _text(results: list[dict[str, Any]], stats: dict[str, Any]) -> list[Any]:
    rows = []
    for r in results:
        seen = "–" if r["exit"] is None else str(r["exit"])
        alone = "no frame" if r["exit"] is None else r["raw_label"] or "not finite"
        rows.append((r["input"], r["label"], f"{r['confidence']:.4f}", seen, alone, f"{r['latency_ms']:.3f} ms"))
    columns = {"input": "left", "label": "left", "posterior": "right", "exit": "right"}
    lines: list[Any] = [table({**columns, "exit alone": "left", "latency": "right"}, rows)]
    reaction = stats["reaction"]
    if reaction is not None:
        seconds = f", reaction {reaction['mean_s']:.1f} s on average" if reaction["mean_s"] is not None else ""
        frames = counted(reaction["labelled_frames"], "frame")
        lines.append(
            f"accuracy {100 * reaction['accuracy']:.2f} %, of {frames} whose folder names their class{seconds}"
        )
    lines.append(
        f"{counted(stats['frames'], 'frame')}, {counted(stats['switches'], 'switch', 'switches')}, "
        f"held {100 * stats['held_share']:.0f} %, without evidence {stats['without_evidence']}, "
        f"compute saved {100 * stats['compute_saved']:.0f} %"
    )
    return lines
