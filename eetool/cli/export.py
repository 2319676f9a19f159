"""`eetool export`."""

from pathlib import Path
from typing import Any

import click

from eetool.cli.console import Answer, TerminalProgress, table, verb
from eetool.cli.options import PATH, force_option, output_option
from eetool.records import check_output


@verb
@click.argument("model", type=PATH)
@output_option("The bundle.  [MODEL with the suffix .eebundle]")
@click.option("--format", "formats", type=click.Choice(["onnx"]), multiple=True, default=("onnx",), show_default=True)
@click.option("--precision", type=click.Choice(["fp32"]), default="fp32", show_default=True)
@click.option("--simplify/--no-simplify", default=True, help="Run onnxsim over every graph.")
@click.option("--reference/--no-reference", default=True, help="Carry the graphs that `bench` compares with.")
@force_option
def export(
    model: Path,
    output: Path | None,
    formats: tuple[str, ...],
    precision: str,
    simplify: bool,
    reference: bool,
    force: bool,
) -> Answer:
    """Split MODEL, a model.pt, into components and write a bundle, each component proved equal to the model."""
    from eetool.model.checkpoint import load_checkpoint

    target = output or model.with_suffix(".eebundle")
    checkpoint = load_checkpoint(model)
    check_output(target, force, directory=True)

    from eetool.export.write import VARIANT, ExportOptions, export_bundle

    progress = TerminalProgress()
    if checkpoint.record.policy is None and checkpoint.record.spec.taps:
        progress.note("warning: the model was never tuned, so the bundle has the operating point `full` only")
    manifest = export_bundle(checkpoint, target, ExportOptions(reference, simplify), progress)
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


command = export
