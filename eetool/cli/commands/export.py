"""`eetool export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from eetool.cli.artefact_arguments import ArtefactType, SourceType, command_name
from eetool.cli.device_source import is_bundle, source_result, with_source
from eetool.cli.export_output import bundle_result, cuts_result, offload_result, single_file_result
from eetool.cli.options import PATH, PROFILE, force_option, named_option, output_option
from eetool.cli.output import CommandResult, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.targets import TARGETS, default_merge

if TYPE_CHECKING:
    from eetool.api.exported_bundle import ExportOrder

_LIST_CUTS = "list"  # value of --offload without a value


class _ExportedModel(ArtefactType):
    """Path of a model.pt, or with --offload or --source of a bundle as well."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from eetool.cli.artefact_hints import check_artefact

        path = Path(str(value))
        given = ParameterSource.COMMANDLINE
        bundle = ctx is not None and given in (ctx.get_parameter_source(name) for name in ("offload", "source"))
        check_artefact(path, ("checkpoint", "bundle") if bundle else self.wanted, command_name(ctx), self.takes)
        return path


@dataclass(frozen=True)
class ExportRequest:
    """Options of `eetool export`."""

    model: Path
    output: Path | None
    formats: tuple[str, ...]
    precisions: tuple[str, ...]
    target: str | None
    calibration_data: str | None
    judge_speed: bool | None
    layout: str
    merge: str | None
    profile: Path | None
    simplify: bool
    reference: bool
    default: str | None
    offload: str | None
    wire: str | None
    repository: Path | None
    source: Path | None
    named: tuple[str, ...]
    force: bool

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, such as `onnx/fp32`. With a target, --format and --precision add further ones."""
        source = click.get_current_context().get_parameter_source
        named = any(source(name) is ParameterSource.COMMANDLINE for name in ("formats", "precisions"))
        variants = tuple(f"{f}/{p}" for f in self.formats for p in self.precisions)
        return variants if self.target is None else (*(variants if named else ()), TARGETS[self.target])

    @property
    def merge_mode(self) -> str:
        """The way in which exit branches are joined: as asked, else by the target."""
        return self.merge or default_merge(self.target)


_OPTIONS = {"formats": "format", "precisions": "precision", "named": "model"}


@verb_with_request(ExportRequest)
@click.argument("model", type=_ExportedModel(("checkpoint",), ".pt"))
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
    "--target",
    type=click.Choice(list(TARGETS)),
    default=None,
    help="Write the variant for microcontrollers, in which every tensor is int8; --format and --precision add others.",
)
@click.option(
    "--calibration-data",
    "--data",
    "calibration_data",
    type=SourceType(),
    metavar="SOURCE",
    help="Data source to calibrate int8 with.  [that of MODEL, else its samples]",
)
@click.option(
    "--judge-speed/--no-judge-speed",
    default=None,
    help="Keep a component fp32 where int8 is slower on this machine.  [unless MODEL was tuned for another device]",
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
    default=None,
    help="Join exit branches with their segments: where it is faster by --profile, or everywhere.  "
    "[none; all with --target mcu]",
)
@click.option(
    "--profile", type=PROFILE, help="For --merge auto: document of `eetool profile` for the bundle without joins."
)
@click.option("--simplify/--no-simplify", default=True, help="Run onnxsim over every ONNX graph.")
@click.option("--reference/--no-reference", default=True, help="Include the graphs that `bench` compares with.")
@click.option("--default", default=None, metavar="NAME", help="Operating point in use after loading.  [that of MODEL]")
@click.option(
    "--offload",
    is_flag=False,
    flag_value=_LIST_CUTS,
    is_eager=True,
    metavar="K|input",
    help="Also export what lies behind exit K for a server, or all of it.  [without a value: print all cuts]",
)
@click.option("--wire", type=click.Choice(["fp32", "fp16", "uint8"]), help="With --offload: precision of what is sent.")
@click.option("--repository", type=PATH, metavar="DIR", help="With --offload: folder of the server's models.")
@click.option(
    "--source",
    type=PATH,
    is_eager=True,
    metavar="DIR",
    help="Write C++ source for microcontrollers: beside the bundle of --target mcu, or from such a bundle as MODEL.",
)
@named_option
@force_option
def export(request: ExportRequest) -> CommandResult:
    """Split MODEL, a model.pt, into components and write a bundle; each component is proved equal to the model.

    With --offload MODEL may be a bundle too. What lies behind exit K becomes one ONNX graph in --repository, in the
    layout that Triton and OpenVINO Model Server read, and the bundle names it. `--offload` alone prints what can be cut
    off, and how many bytes would be sent.
    """
    from eetool.errors import UsageError

    if request.source is not None and is_bundle(request.model):
        _check_source_alone()
        return source_result(request.model, request.source, request.force)
    if request.source is not None and request.target is None:
        raise UsageError("--source is written for microcontrollers", "Give --target mcu as well.")
    if request.offload is not None or request.wire is not None or request.repository is not None:
        _check_offload(request)
        return _list_cuts(request) if request.offload == _LIST_CUTS else _export_offload(request)
    if request.profile is not None and request.merge != "auto":
        raise UsageError("--profile is what --merge auto decides by", "Give both, or neither.")
    if request.layout == "single":
        _check_single_file(request)
        return _export_single_file(request)
    return _export_bundle(request)


def _check_source_alone() -> None:
    """Raise UsageError where an option is given that belongs to a model.pt."""
    from eetool.errors import UsageError

    source = click.get_current_context().get_parameter_source
    for name in ExportRequest.__dataclass_fields__:
        if source(name) is ParameterSource.COMMANDLINE and name not in ("model", "source", "force"):
            option = _OPTIONS.get(name, name).replace("_", "-")
            raise UsageError(f"source of a bundle has no use for --{option}", "Leave it out; a model.pt takes it.")


def _export_bundle(request: ExportRequest) -> CommandResult:
    from eetool.records import check_output

    target = request.output or request.model.with_suffix(".eebundle")
    check_output(target, request.force, directory=True)
    if request.source is not None:
        check_output(request.source, request.force, directory=True)
    from eetool.api.exported_bundle import export_model

    result = bundle_result(target, export_model(_order(request, target), TerminalProgress(stages=True)))
    return result if request.source is None else with_source(result, target, request.source, request.force)


def _order(request: ExportRequest, target: Path) -> "ExportOrder":
    from eetool.api.exported_bundle import ExportOrder
    from eetool.model.checkpoint import load_checkpoint

    return ExportOrder(
        load_checkpoint(request.model, request.named),
        target,
        request.variants,
        request.merge_mode,
        request.calibration_data,
        request.judge_speed,
        request.profile,
        request.simplify,
        request.reference,
        request.default,
        request.force,
    )


def _check_offload(request: ExportRequest) -> None:
    from eetool.errors import UsageError

    if request.offload is None:
        raise UsageError("--wire and --repository are of a model for a server", "Give --offload K as well.")
    if request.layout == "single":
        raise UsageError("--layout single is one graph, and --offload cuts it", "Leave out one of them.")
    if request.source is not None:
        raise UsageError("--source is for microcontrollers, and they ask no server", "Leave out --source or --offload.")
    if request.offload == _LIST_CUTS:
        return
    missing = [name for name in ("wire", "repository") if getattr(request, name) is None]
    if missing:
        example = " ".join({"wire": "--wire fp16", "repository": "--repository models"}[name] for name in missing)
        raise UsageError(f"--offload {request.offload} also takes {' and '.join(f'--{n}' for n in missing)}", example)
    source = click.get_current_context().get_parameter_source
    of_components = (
        "formats",
        "precisions",
        "target",
        "judge_speed",
        "merge",
        "profile",
        "simplify",
        "reference",
        "default",
    )
    given = [name for name in of_components if source(name) is ParameterSource.COMMANDLINE]
    if request.model.is_dir() and given:
        option = _OPTIONS.get(given[0], given[0].replace("_", "-"))
        raise UsageError(f"a bundle has its components already, so --{option} has no use", f"Leave out --{option}.")


def _export_offload(request: ExportRequest) -> CommandResult:
    from eetool.api.offloaded_bundle import OffloadRequest, check_offload_output, offload_bundle, offload_checkpoint

    assert request.offload is not None
    assert request.wire is not None
    assert request.repository is not None
    wanted = OffloadRequest(
        request.offload, request.wire, request.repository, request.output, request.calibration_data, request.force
    )
    check_offload_output(request.model, wanted)
    progress = TerminalProgress(stages=True)
    target = request.output or request.model.with_suffix(".eebundle")
    if request.model.is_dir():
        return offload_result(request.output or request.model, offload_bundle(request.model, wanted, progress))
    return offload_result(target, offload_checkpoint(_order(request, target), wanted, progress))


def _list_cuts(request: ExportRequest) -> CommandResult:
    from eetool.api.offloaded_bundle import bundle_cuts, checkpoint_cuts

    if request.model.is_dir():
        return cuts_result(bundle_cuts(request.model))
    order = _order(request, request.model.with_suffix(".eebundle"))
    return cuts_result(checkpoint_cuts(order, TerminalProgress(stages=True)))


def _check_single_file(request: ExportRequest) -> None:
    from eetool.errors import UsageError

    if request.merge not in (None, "none"):
        raise UsageError("--layout single is one graph, so there is nothing to merge", "Leave out --merge.")
    if set(request.variants) != {"onnx/fp32"}:
        raise UsageError("--layout single is one ONNX file in fp32", "Leave out --format and --precision.")
    source = click.get_current_context().get_parameter_source
    for name in ("target", "calibration_data", "judge_speed", "reference", "default", "source"):
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
    from eetool.api.exported_bundle import warn_untuned
    from eetool.export.single_file.export import export_single

    progress = TerminalProgress(stages=True)
    warn_untuned(checkpoint, progress)
    return single_file_result(target, export_single(checkpoint, target, request.simplify, progress, request.force))


command = export
