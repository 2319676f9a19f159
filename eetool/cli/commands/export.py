"""`eetool export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from eetool.cli.artefact_arguments import SourceType
from eetool.cli.export_output import bundle_result, single_file_result
from eetool.cli.options import CHECKPOINT, PROFILE, force_option, named_option, output_option
from eetool.cli.output import CommandResult, verb_with_request
from eetool.cli.progress_bars import TerminalProgress

if TYPE_CHECKING:
    import numpy as np

    from eetool.data.source import Source
    from eetool.model.checkpoint import Checkpoint
    from eetool.progress import Progress
    from eetool_measure.results import ThreadTimes

_CALIBRATION_EXAMPLES = 256


@dataclass(frozen=True)
class ExportRequest:
    """Options of `eetool export`."""

    model: Path
    output: Path | None
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    calibration_data: str | None
    judge_speed: bool
    layout: str
    merge: str
    profile: Path | None
    simplify: bool
    reference: bool
    named: tuple[str, ...]
    force: bool

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, such as `onnx/fp32`."""
        return tuple(f"{f}/{p}" for f in self.formats for p in self.precisions)


@dataclass(frozen=True)
class _CalibrationData:
    """Examples to quantise with, and the labelled source to fit the policy of int8 variants with."""

    inputs: "dict[str, np.ndarray] | None" = None
    labelled: "Source | None" = None


@verb_with_request(ExportRequest)
@click.argument("model", type=CHECKPOINT)
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
    help="Every format is written in every precision; repeatable.",
)
@click.option(
    "--calibration-data",
    type=SourceType(),
    metavar="SOURCE",
    help="Data source to calibrate int8 with.  [that of MODEL, else its samples]",
)
@click.option(
    "--judge-speed/--no-judge-speed", default=True, help="Keep a component fp32 where int8 is slower on this machine."
)
@click.option(
    "--layout",
    type=click.Choice(["segments", "single"]),
    default="segments",
    show_default=True,
    help="A bundle of components, or one ONNX file with early exits inside (docs/single-file.md).",
)
@click.option(
    "--merge",
    type=click.Choice(["none", "auto", "all"]),
    default="none",
    show_default=True,
    help="Join exit branches with their segments: where it is faster by --profile, or everywhere.",
)
@click.option(
    "--profile", type=PROFILE, help="For --merge auto: document of `eetool profile` for the bundle without joins."
)
@click.option("--simplify/--no-simplify", default=True, help="Run onnxsim over every ONNX graph.")
@click.option("--reference/--no-reference", default=True, help="Include the graphs that `bench` compares with.")
@named_option
@force_option
def export(request: ExportRequest) -> CommandResult:
    """Split MODEL, a model.pt, into components and write a bundle; each component is proved equal to the model."""
    from eetool.errors import UsageError

    if request.profile is not None and request.merge != "auto":
        raise UsageError("--profile is what --merge auto decides by", "Give both, or neither.")
    if request.layout == "single":
        _check_single_file(request)
        return _export_single_file(request)
    return _export_bundle(request)


def _export_bundle(request: ExportRequest) -> CommandResult:
    from eetool.records import check_output

    target = request.output or request.model.with_suffix(".eebundle")
    check_output(target, request.force, directory=True)
    from eetool.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(request.model, request.named)
    from eetool.export.bundle_export import ExportOptions, export_bundle
    from eetool.export.refitted_variants import refitted_variants

    progress = TerminalProgress()
    _warn_untuned(checkpoint, progress)
    times = _measured_times(request.profile)
    data = _CalibrationData()
    if refitted_variants(checkpoint.record.policy, request.variants, request.merge):
        int8 = "int8" in request.precisions
        data = _calibration_data(checkpoint, request.calibration_data, int8, progress)
    options = ExportOptions(
        request.variants,
        request.reference,
        request.simplify,
        calibration=data.inputs,
        labelled=data.labelled,
        judge_speed=request.judge_speed,
        merge=request.merge,
        figures=times,
    )
    return bundle_result(
        target, export_bundle(checkpoint, target, options, progress, request.force), request.precisions
    )


def _calibration_data(checkpoint: "Checkpoint", name: str | None, int8: bool, progress: "Progress") -> _CalibrationData:
    """Return the data that int8 is calibrated and the policies of variants are fitted with.

    Without a `name` it is the source that the checkpoint records, if that is on this machine.
    """
    from eetool.data.registry import is_local, load_source
    from eetool.data.source import check_classes
    from eetool.data.splits import TRAIN, recorded_split, split_source
    from eetool.data.vocabulary import use_model_vocabulary
    from eetool.errors import EarlyExitError, MissingError
    from eetool.export.calibration import calibration_inputs, evenly_spaced

    record = checkpoint.record
    wanted = name or (record.data.source if record.data else "")
    try:
        if name is None and not is_local(wanted):
            raise MissingError(f"{wanted} would have to be downloaded")
        source = use_model_vocabulary(load_source(wanted, progress), record.spec.inputs)
    except EarlyExitError:
        if name is not None:
            raise
        if int8:
            progress.note("warning: int8 is calibrated with the few samples of the model; give --calibration-data")
            progress.note("warning: int8 variants keep the policy of the float model; their accuracy is not known")
        return _CalibrationData()
    labelled = None
    if record.data is not None and record.data.source == source.name:
        check_classes(source, record.spec.labels, "the model")
        train, labelled = recorded_split(source, TRAIN, record.data), source
    else:
        train = split_source(source)[TRAIN]
        progress.note(f"warning: the model does not record {source.name!r}, so int8 variants keep the float policy")
    chosen = evenly_spaced(train, _CALIBRATION_EXAMPLES)
    return _CalibrationData(calibration_inputs(source.inputs[chosen], record.spec.inputs), labelled)


def _measured_times(profile: Path | None) -> "ThreadTimes | None":
    if profile is None:
        return None
    from eetool.profile.profiler import SCHEMA, Profile
    from eetool.records import read_record

    return read_record(Profile, profile, SCHEMA).chosen


def _check_single_file(request: ExportRequest) -> None:
    from eetool.errors import UsageError

    if request.merge != "none":
        raise UsageError("--layout single is one graph, so there is nothing to merge", "Leave out --merge.")
    if set(request.variants) != {"onnx/fp32"}:
        raise UsageError("--layout single is one ONNX file in fp32", "Leave out --format and --precision.")
    source = click.get_current_context().get_parameter_source
    for name in ("calibration_data", "judge_speed", "reference"):
        if source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise UsageError(f"--layout single has no use for --{option}", f"Leave out --{option}.")


def _export_single_file(request: ExportRequest) -> CommandResult:
    from eetool.errors import UsageError
    from eetool.records import check_output

    target = request.output or request.model.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"{target} does not end in .onnx, as a single file does", "Give -o NAME.onnx.")
    check_output(target, request.force)
    from eetool.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(request.model, request.named)
    from eetool.export.single_file.export import export_single

    progress = TerminalProgress()
    _warn_untuned(checkpoint, progress)
    return single_file_result(target, export_single(checkpoint, target, request.simplify, progress, request.force))


def _warn_untuned(checkpoint: "Checkpoint", progress: "Progress") -> None:
    if checkpoint.record.policy is None and checkpoint.record.spec.taps:
        progress.note("warning: the model was never tuned, so its only operating point is `full`")


command = export
