"""`eetool export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from eetool.cli.options import MODEL, PATH, force_option, named_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, table, verb
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.model.checkpoint import Checkpoint
    from eetool_measure.results import ThreadTimes

_CALIBRATION = 256


@verb
@click.argument("model", type=MODEL)
@output_option("The bundle or file.  [MODEL with the suffix .eebundle, or .onnx for a single file]")
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
@click.option("--simplify/--no-simplify", default=True, help="Run onnxsim over every ONNX graph.")
@click.option("--reference/--no-reference", default=True, help="Carry the graphs that `bench` compares with.")
@named_option
@force_option
def export(
    model: Path,
    named: tuple[str, ...],
    output: Path | None,
    formats: tuple[str, ...],
    precisions: tuple[str, ...],
    calibration_data: str | None,
    judge_speed: bool,
    layout: str,
    merge: str,
    profile: Path | None,
    simplify: bool,
    reference: bool,
    force: bool,
) -> CommandResult:
    """Split MODEL, a model.pt, into components and write a bundle, each component proved equal to the model."""
    from eetool.errors import UsageError
    from eetool.model.checkpoint import load_checkpoint
    from eetool.records import check_output

    if profile is not None and merge != "auto":
        raise UsageError("--profile is what --merge auto decides by", "Give both, or neither.")
    variants = tuple(f"{f}/{p}" for f in formats for p in precisions)
    if layout == "single":
        _check_single(variants, merge)
        return _single(model, named, output, simplify, force)
    target = output or model.with_suffix(".eebundle")
    checkpoint = load_checkpoint(model, named)
    check_output(target, force, directory=True)

    from eetool.export.bundle_export import ExportOptions, export_bundle
    from eetool.export.refitted_variants import refitted_variants

    progress = TerminalProgress()
    _warn_untuned(checkpoint, progress)
    figures = _figures(profile)
    refitted = refitted_variants(checkpoint.record.policy, variants, merge)
    data = _calibration(checkpoint, calibration_data, "int8" in precisions, progress) if refitted else {}
    options = ExportOptions(
        variants, reference, simplify, judge_speed=judge_speed, merge=merge, figures=figures, **data
    )
    manifest = export_bundle(checkpoint, target, options, progress, force)
    found = {name: _components(manifest, name) for name in manifest.variants}
    text: list[Any] = [line for name, components in found.items() for line in (name, _table(components))]
    if "fp32" in precisions:
        text.append("every fp32 component, exit and decision proved equal to the model's")
    text.append(f"wrote {target}")
    return CommandResult("export/1", {"output": str(target), "variants": found}, text)


def _calibration(checkpoint: Any, name: str | None, int8: bool, progress: Progress) -> dict[str, Any]:
    """Return options of `export_bundle`: inputs to calibrate int8 with, and data for the policy of its variants."""
    from eetool.data.registry import is_local, load_source
    from eetool.data.splits import TRAIN, recorded_split, split_source
    from eetool.errors import EarlyExitError, MissingError
    from eetool.export.calibration import calibration_inputs, evenly_spaced

    record = checkpoint.record
    wanted = name or (record.data.source if record.data else "")
    try:
        if name is None and not is_local(wanted):
            raise MissingError(f"{wanted} would have to be downloaded")
        source = load_source(wanted, progress)
    except EarlyExitError:
        if name is not None:
            raise
        if int8:
            progress.note("warning: int8 is calibrated with the few samples of the model; give --calibration-data")
            progress.note("warning: int8 variants keep the policy of the float model; their accuracy is not known")
        return {}
    if record.data is not None and record.data.source == source.name:
        train, labelled = recorded_split(source, TRAIN, record.data), source
    else:
        train, labelled = split_source(source)[TRAIN], None
        progress.note(f"warning: the model does not record {source.name!r}, so int8 variants keep the float policy")
    chosen = evenly_spaced(train, _CALIBRATION)
    return {"calibration": calibration_inputs(source.inputs[chosen], record.spec.inputs), "labelled": labelled}


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


def _figures(profile: Path | None) -> "ThreadTimes | None":
    if profile is None:
        return None
    from eetool.profile.profiler import SCHEMA, Profile
    from eetool.records import read_record

    return read_record(Profile, profile, SCHEMA).chosen


def _check_single(variants: tuple[str, ...], merge: str) -> None:
    from eetool.errors import UsageError

    if merge != "none":
        raise UsageError("--layout single is one graph, so there is nothing to merge", "Leave out --merge.")
    if set(variants) != {"onnx/fp32"}:
        raise UsageError("--layout single is one ONNX file in fp32", "Leave out --format and --precision.")
    source = click.get_current_context().get_parameter_source
    for name in ("calibration_data", "judge_speed", "reference"):
        if source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise UsageError(f"--layout single has no use for --{option}", f"Leave out --{option}.")


def _single(model: Path, named: tuple[str, ...], output: Path | None, simplify: bool, force: bool) -> CommandResult:
    from eetool.errors import UsageError
    from eetool.model.checkpoint import load_checkpoint
    from eetool.records import check_output

    target = output or model.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"{target} does not end in .onnx, which a single file does", "Give -o NAME.onnx.")
    checkpoint = load_checkpoint(model, named)
    check_output(target, force)

    from eetool.export.single_file.export import export_single

    progress = TerminalProgress()
    _warn_untuned(checkpoint, progress)
    made = export_single(checkpoint, target, simplify, progress, force)
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
    return CommandResult("export/1", document, text)


def _warn_untuned(checkpoint: "Checkpoint", progress: TerminalProgress) -> None:
    if checkpoint.record.policy is None and checkpoint.record.spec.taps:
        progress.note("warning: the model was never tuned, so there is the operating point `full` only")


command = export
