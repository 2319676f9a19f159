"""`eetool export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eetool.cli.console import Answer, TerminalProgress, table, verb
from eetool.cli.options import PATH, force_option, output_option
from eetool.errors import UsageError
from eetool.records import check_output

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint
    from eetool_runtime.measurement import ThreadTimes


@verb
@click.argument("model", type=PATH)
@output_option("The bundle or file.  [MODEL with the suffix .eebundle, or .onnx for a single file]")
@click.option("--format", "formats", type=click.Choice(["onnx"]), multiple=True, default=("onnx",), show_default=True)
@click.option("--precision", type=click.Choice(["fp32"]), default="fp32", show_default=True)
@click.option(
    "--layout",
    type=click.Choice(["segments", "single"]),
    default="segments",
    show_default=True,
    help="A bundle of components, or one ONNX file that leaves early by itself (docs/single-file.md).",
)
@click.option(
    "--merge",
    type=click.Choice(["none", "auto", "all"]),
    default="none",
    show_default=True,
    help="Join exit heads with their segments: where --profile says that it pays, or everywhere.",
)
@click.option("--profile", type=PATH, help="What `eetool profile` measured on the bundle without joins; for auto.")
@click.option("--simplify/--no-simplify", default=True, help="Run onnxsim over every graph.")
@click.option("--reference/--no-reference", default=True, help="Carry the graphs that `bench` compares with.")
@force_option
def export(
    model: Path,
    output: Path | None,
    formats: tuple[str, ...],
    precision: str,
    layout: str,
    merge: str,
    profile: Path | None,
    simplify: bool,
    reference: bool,
    force: bool,
) -> Answer:
    """Split MODEL, a model.pt, into components and write a bundle, each component proved equal to the model."""
    from eetool.model.checkpoint import load_checkpoint

    if profile is not None and merge != "auto":
        raise UsageError("--profile is what --merge auto decides by", "Give both, or neither.")
    if layout == "single":
        if merge != "none":
            raise UsageError("--layout single is one graph, so there is nothing to merge", "Leave out --merge.")
        return _single(model, output, simplify, force)
    target = output or model.with_suffix(".eebundle")
    checkpoint = load_checkpoint(model)
    check_output(target, force, directory=True)

    from eetool.export.write import VARIANT, ExportOptions, export_bundle

    progress = TerminalProgress()
    _warn_untuned(checkpoint, progress)
    options = ExportOptions(reference, simplify, merge, _figures(profile))
    manifest = export_bundle(checkpoint, target, options, progress)
    graphs = manifest.variants[VARIANT].components
    components: list[dict[str, Any]] = []
    for c in manifest.components:
        file = graphs[c.name]
        size = manifest.files[file.path].size_bytes
        components.append(
            {
                "name": c.name,
                "macs": c.macs,
                "parameters": c.parameters,
                "size_bytes": size,
                "max_abs_error": file.max_abs_error,
                "tolerance": file.tolerance,
            }
        )
    rows = [
        (
            str(c["name"]),
            f"{c['macs'] / 1e6:.2f} M",
            f"{c['parameters']:,}",
            f"{c['size_bytes'] / 1024:.0f} KiB",
            f"{c['max_abs_error']:.1e}",
        )
        for c in components
    ]
    columns = {"component": "left", "MACs": "right", "parameters": "right", "size": "right", "largest error": "right"}
    text = [
        table(columns, rows),
        "every component, exit and decision proved equal to the model's",
        f"wrote {target}",
    ]
    return Answer("export/1", {"output": str(target), "variant": VARIANT, "components": components}, text)


def _figures(profile: Path | None) -> "ThreadTimes | None":
    if profile is None:
        return None
    from eetool.profile.host import SCHEMA, Profile
    from eetool.records import read_record

    return read_record(Profile, profile, SCHEMA).chosen


def _single(model: Path, output: Path | None, simplify: bool, force: bool) -> Answer:
    from eetool.model.checkpoint import load_checkpoint

    target = output or model.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"{target} does not end in .onnx, which a single file does", "Give -o NAME.onnx.")
    checkpoint = load_checkpoint(model)
    check_output(target, force)

    from eetool.export.single import export_single

    progress = TerminalProgress()
    _warn_untuned(checkpoint, progress)
    made = export_single(checkpoint, target, simplify, progress)
    exits = [
        {"exit": i, "max_abs_error": parity.max_abs_error, "tolerance": parity.tolerance}
        for i, parity in enumerate(made.exits)
    ]
    text = [
        table(
            {"exit": "right", "largest error": "right"}, [(f"{e['exit']}", f"{e['max_abs_error']:.1e}") for e in exits]
        ),
        "every exit and decision proved equal to the model's",
        f"wrote {target}, {made.size_bytes / 1024:.0f} KiB; its batch is 1, and its thresholds are inputs",
    ]
    document = {"output": str(target), "layout": "single", "size_bytes": made.size_bytes, "exits": exits}
    return Answer("export/1", document, text)


def _warn_untuned(checkpoint: "Checkpoint", progress: TerminalProgress) -> None:
    if checkpoint.record.policy is None and checkpoint.record.spec.taps:
        progress.note("warning: the model was never tuned, so there is the operating point `full` only")


command = export
