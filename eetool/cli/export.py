"""`eetool export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from eetool.cli.console import Answer, TerminalProgress, table, verb
from eetool.cli.options import PATH, force_option, output_option
from eetool.errors import EarlyExitError
from eetool.progress import Progress
from eetool.records import check_output

_CALIBRATION = 256


@verb
@click.argument("model", type=PATH)
@output_option("The bundle.  [MODEL with the suffix .eebundle]")
@click.option(
    "--format", "formats", type=click.Choice(["onnx", "tflite"]), multiple=True, default=("onnx",), show_default=True
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["fp32", "int8"]),
    multiple=True,
    default=("fp32",),
    show_default=True,
    help="Every format is written in every precision.",
)
@click.option(
    "--calibration-data",
    metavar="SOURCE",
    help="Data source for int8: digits.  [the one that MODEL records, else its samples]",
)
@click.option(
    "--judge-speed/--no-judge-speed", default=True, help="Keep a component fp32 where int8 is slower on this machine."
)
@click.option("--simplify/--no-simplify", default=True, help="Run onnxsim over every ONNX graph.")
@click.option("--reference/--no-reference", default=True, help="Carry the graphs that `bench` compares with.")
@force_option
def export(
    model: Path,
    output: Path | None,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    calibration_data: str | None,
    judge_speed: bool,
    simplify: bool,
    reference: bool,
    force: bool,
) -> Answer:
    """Split MODEL, a model.pt, into components and write a bundle, each component proved equal to the model."""
    from eetool.model.checkpoint import load_checkpoint

    target = output or model.with_suffix(".eebundle")
    checkpoint = load_checkpoint(model)
    check_output(target, force, directory=True)

    from eetool.export.write import ExportOptions, export_bundle

    progress = TerminalProgress()
    if checkpoint.record.policy is None and checkpoint.record.spec.taps:
        progress.note("warning: the model was never tuned, so the bundle has the operating point `full` only")
    variants = tuple(f"{f}/{p}" for f in formats for p in precisions)
    data = _calibration(checkpoint, calibration_data, progress) if "int8" in precisions else {}
    options = ExportOptions(variants, reference, simplify, judge_speed=judge_speed, **data)
    manifest = export_bundle(checkpoint, target, options, progress)
    found = {name: _components(manifest, name) for name in manifest.variants}
    text: list[Any] = [line for name, components in found.items() for line in (name, _table(components))]
    if "fp32" in precisions:
        text.append("every fp32 component, exit and decision proved equal to the model's")
    text.append(f"wrote {target}")
    return Answer("export/1", {"output": str(target), "variants": found}, text)


def _calibration(checkpoint: Any, name: str | None, progress: Progress) -> dict[str, Any]:
    """Options of `export_bundle` that say what int8 is calibrated and its policy fitted with."""
    from eetool.data.sources import load_source
    from eetool.data.splits import TRAIN, recorded_split, split_source
    from eetool.export.calibration import model_inputs, spread_over

    record = checkpoint.record
    try:
        source = load_source(name or (record.data.source if record.data else ""))
    except EarlyExitError:
        if name is not None:
            raise
        progress.note("warning: int8 is calibrated with the few samples of the model; give --calibration-data")
        progress.note("warning: int8 variants keep the policy of the float model; their accuracy is not known")
        return {}
    if record.data is not None and record.data.source == source.name:
        train, labelled = recorded_split(source, TRAIN, record.data), source
    else:
        train, labelled = split_source(source)[TRAIN], None
        progress.note(f"warning: the model does not record {source.name!r}, so int8 variants keep the float policy")
    chosen = spread_over(train, _CALIBRATION)
    return {"calibration": model_inputs(source.images[chosen], record.spec.inputs), "labelled": labelled}


def _components(manifest: Any, variant: str) -> list[dict[str, Any]]:
    graphs = manifest.variants[variant].components
    return [
        {
            "name": c.name,
            "macs": c.macs,
            "parameters": c.parameters,
            "precision": graphs[c.name].precision,
            "size_bytes": manifest.files[graphs[c.name].path].size_bytes,
            "max_abs_error": graphs[c.name].max_abs_error,
            "tolerance": graphs[c.name].tolerance,
        }
        for c in manifest.components
    ]


def _table(components: list[dict[str, Any]]) -> Any:
    rows = [_row(c) for c in components]
    right = ("MACs", "parameters", "size", "largest error")
    return table({"component": "left", "precision": "left", **dict.fromkeys(right, "right")}, rows)


def _row(c: Mapping[str, Any]) -> tuple[str, ...]:
    macs, size = f"{c['macs'] / 1e6:.2f} M", f"{c['size_bytes'] / 1024:.0f} KiB"
    return (c["name"], c["precision"], macs, f"{c['parameters']:,}", size, f"{c['max_abs_error']:.1e}")


command = export
