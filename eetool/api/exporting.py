"""`eetool.export`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from eetool.api.arguments import (
    Data,
    PathLike,
    References,
    as_checkpoint,
    as_path,
    as_progress,
    as_source,
    as_strings,
    check_choice,
)
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError
from eetool.progress import Progress
from eetool.targets import TARGETS, default_merge

if TYPE_CHECKING:
    from eetool.api.offloaded_bundle import OffloadRequest
    from eetool.model.checkpoint import Checkpoint
    from eetool_runtime import Bundle

_WIRES = ("fp32", "fp16", "uint8")
_FORMATS, _PRECISIONS, _MERGES = ("onnx", "tflite"), ("fp32", "int8"), ("none", "auto", "all")


def export(
    model: Union[PathLike, "Checkpoint"],
    output: PathLike | None = None,
    *,
    formats: str | Sequence[str] = "onnx",
    precisions: str | Sequence[str] = "fp32",
    target: str | None = None,
    merge: str | None = None,
    calibration_data: Data | None = None,
    judge_speed: bool | None = None,
    profile: PathLike | None = None,
    simplify: bool = True,
    reference_graphs: bool = True,
    default: str | None = None,
    offload: int | str | None = None,
    wire: str | None = None,
    repository: PathLike | None = None,
    reference: References = None,
    force: bool = False,
    progress: Progress | None = None,
) -> "Bundle":
    """Split a model into components and write a bundle; each float component is proved equal to the model.

    >>> bundle = eetool.export("model.pt")
    >>> model = eetool.load(bundle)

    Args:
        model: a model.pt, or a checkpoint.
        output: the bundle, by default `model` with the suffix `.eebundle`.
        formats: `onnx`, `tflite` or both; with a target, may be empty.
        precisions: `fp32`, `int8` or both; every format is written in every precision.
        target: `mcu` adds the variant for microcontrollers, in which every tensor is int8.
        merge: join exit branches with their segments: `none`, `all`, or `auto` where it is faster by `profile`; by
            default `none`, with the target `mcu` `all`.
        calibration_data: data to calibrate int8 with, by default that of the model, else its samples.
        judge_speed: keep a component float where int8 is slower on this machine; by default unless the model was tuned
            for another device.
        profile: for `merge="auto"`: document of `eetool profile` for the bundle without joins.
        simplify: run onnxsim over every ONNX graph.
        reference_graphs: include the graphs that `bench` compares with.
        default: operating point in use after loading, by default that of the model.
        offload: also export what lies behind this exit for a server; `input`: everything.
        wire: precision of what is sent: `fp32`, `fp16` or `uint8`.
        repository: folder of the server's models.
        reference: your code that builds the network of a model.pt.
        force: replace an existing bundle.
        progress: observer of the work; receives warnings, such as that the model was never tuned.

    Returns:
        The bundle, with its `path` and its `manifest`.

    Raises:
        eetool.errors.UsageError: an argument is invalid, or contradicts another one.
        eetool.errors.OutputError: the bundle exists and `force` was not given, or it cannot be written.
        eetool.errors.MissingError: a converter is not installed.
        eetool.errors.ArtefactError: the network cannot be traced or converted.
        eetool.errors.VerificationError: a component differs from the model.
    """
    with python_errors():
        if target is not None:
            check_choice("target", target, tuple(TARGETS))
        variants = () if target is not None and not formats else _variants(formats, precisions)
        if target is not None:
            variants = (*variants, TARGETS[target])
        check_choice("merge", merge, _MERGES)
        if profile is not None and merge != "auto":
            raise UsageError('profile is what merge="auto" decides by', "Give both, or neither.")
        from eetool.api.exported_bundle import ExportOrder, export_model
        from eetool.records import check_output
        from eetool_runtime import open_bundle

        path = _path(model, output)
        server = _server(path, offload, wire, repository, force)
        check_output(path, force, directory=True)
        watched = as_progress(progress)
        order = ExportOrder(
            as_checkpoint(model, reference),
            path,
            variants,
            merge or default_merge(target),
            None if calibration_data is None else as_source(calibration_data, watched),
            judge_speed,
            None if profile is None else as_path(profile, "a document of `eetool profile`"),
            simplify,
            reference_graphs,
            default,
            force,
        )
        if server is None:
            export_model(order, watched)
        else:
            from eetool.api.offloaded_bundle import offload_checkpoint

            offload_checkpoint(order, replace(server, data=order.calibration_data), watched)
        return open_bundle(path)


def _server(
    path: Path, offload: int | str | None, wire: str | None, repository: PathLike | None, force: bool
) -> "OffloadRequest | None":
    """Return the order to export for a server, or None; raises UsageError where a part of it is missing."""
    given = {"offload": offload, "wire": wire, "repository": repository}
    check_choice("wire", wire, _WIRES)
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if offload is None or wire is None or repository is None:
        raise UsageError("offload, wire and repository belong together", f"Give {' and '.join(missing)} as well.")
    from eetool.api.offloaded_bundle import OffloadRequest
    from eetool.export.offload.cut import parse_cut

    parse_cut(str(offload))  # refuses a wrong one before anything is exported
    return OffloadRequest(str(offload), wire, as_path(repository, "a folder"), path, None, force)


def _variants(formats: str | Sequence[str], precisions: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the variants, such as `onnx/fp32`; raises UsageError for an unknown part."""
    given = {
        "formats": (as_strings("formats", formats), _FORMATS),
        "precisions": (as_strings("precisions", precisions), _PRECISIONS),
    }
    for name, (values, known) in given.items():
        if not values:
            raise UsageError(f"{name} is empty", f"Known: {', '.join(known)}.")
        for value in values:
            check_choice(name, value, known)
    return tuple(f"{f}/{p}" for f in given["formats"][0] for p in given["precisions"][0])


def _path(model: Any, output: PathLike | None) -> Path:
    if output is not None:
        return as_path(output, "the bundle")
    from eetool.model.checkpoint import Checkpoint

    if isinstance(model, Checkpoint):
        raise UsageError("a checkpoint has no name that the bundle could take", "Give output='model.eebundle'.")
    as_checkpoint_path = as_path(model, "a model.pt")
    return as_checkpoint_path.with_suffix(".eebundle")
