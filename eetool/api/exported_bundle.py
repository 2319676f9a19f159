"""Export of a checkpoint with the data that its int8 variants and its refitted policies need."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.errors import EarlyExitError, MissingError
from eetool.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from eetool.data.source import Source
    from eetool.export.bundle_export import ExportedBundle
    from eetool.model.checkpoint import Checkpoint
    from eetool_measure.results import ThreadTimes
    from eetool_runtime.manifest import Manifest

_CALIBRATION_EXAMPLES = 256
_INT8 = "/int8"


@dataclass(frozen=True)
class ExportOrder:
    """Bundle to write. The attributes are those of `eetool.export`; `calibration_data` is read already."""

    checkpoint: "Checkpoint"
    output: Path
    variants: tuple[str, ...]
    merge: str
    calibration_data: "str | Source | None"
    judge_speed: bool | None
    profile: Path | None
    simplify: bool
    references: bool
    default: str | None
    force: bool


@dataclass(frozen=True)
class _CalibrationData:
    """Examples to quantise with, and the labelled source to fit the policy of int8 variants with."""

    inputs: "dict[str, np.ndarray] | None" = None
    labelled: "Source | None" = None


def export_model(order: ExportOrder, progress: Progress) -> "ExportedBundle":
    """Write a bundle.

    Raises:
        UsageError, MissingError, ArtefactError, VerificationError, OutputError: see
            `eetool.export.bundle_export.export_bundle`.
    """
    from eetool.export.bundle_export import ExportOptions, export_bundle
    from eetool.export.refitted_variants import refitted_variants

    checkpoint = order.checkpoint if order.default is None else _with_default(order.checkpoint, order.default)
    warn_untuned(checkpoint, progress)
    times = _measured_times(order.profile)
    data = _CalibrationData()
    if refitted_variants(checkpoint.record.policy, order.variants, order.merge):
        data = _calibration_data(order, progress)
    options = ExportOptions(
        order.variants,
        order.references,
        order.simplify,
        calibration=data.inputs,
        labelled=data.labelled,
        judge_speed=judges_speed(order, progress),
        merge=order.merge,
        figures=times,
    )
    exported = export_bundle(checkpoint, order.output, options, progress, order.force)
    _warn_default(exported.manifest, order.output, progress)
    return exported


def judges_speed(order: ExportOrder, progress: Progress) -> bool:
    """Return whether int8 is judged by its speed here: as asked, else where no other machine is the goal."""
    policy = order.checkpoint.record.policy
    costs = policy.goals.costs if policy is not None and policy.goals is not None else None
    if order.judge_speed is not None or costs is None or _is_this_machine(costs.device):
        return order.judge_speed is not False
    if any(name.endswith(_INT8) for name in order.variants):
        progress.note(
            f"int8 is not judged by its speed: the model was tuned for {costs.device}, and this is another machine "
            "(--judge-speed judges all the same)"
        )
    return False


def _is_this_machine(device: str) -> bool:
    from eetool.latency.table.hw_profile import device_name_of_board
    from eetool.profile.profiler import HOST
    from eetool_measure.machine import read_machine

    return device in (HOST, device_name_of_board(read_machine().board))


def _with_default(checkpoint: "Checkpoint", name: str) -> "Checkpoint":
    """Return the checkpoint with another default operating point."""
    from eetool.tune.point_names import FULL, check_point

    policy = checkpoint.record.policy
    check_point(name, [FULL] if policy is None else list(policy.operating_points))
    if policy is None:
        return checkpoint
    goals = None if policy.goals is None else replace(policy.goals, default=name)
    return checkpoint.with_policy(replace(policy, default=name, goals=goals))


def _warn_default(manifest: "Manifest", target: Path, progress: Progress) -> None:
    """Warn where the default operating point of a variant costs as much as the network without early exits."""
    from eetool.export.default_point import price_default_point
    from eetool_runtime.default_point import default_point_warning

    warned: dict[str, list[str]] = {}
    for variant in manifest.variants:
        warning = default_point_warning(manifest, variant) or price_default_point(target, variant)
        if warning is not None:
            warned.setdefault(warning, []).append(variant)
    for warning, variants in warned.items():
        progress.note(f"warning: {', '.join(variants)}: {warning}")


def warn_untuned(checkpoint: "Checkpoint", progress: Progress) -> None:
    """Note that a model with early exits has no operating point but `full`."""
    if checkpoint.record.policy is None and checkpoint.record.spec.taps:
        progress.note("warning: the model was never tuned, so its only operating point is `full`")


def _calibration_data(order: ExportOrder, progress: Progress) -> _CalibrationData:
    """Return the data that int8 is calibrated and the policies of variants are fitted with.

    Where none is given it is the source that the checkpoint records, if that is on this machine.
    """
    from eetool.data.contents import as_recorded
    from eetool.data.image_form import model_form
    from eetool.data.registry import is_local, load_source
    from eetool.data.source import Source, check_classes
    from eetool.data.splits import TRAIN, recorded_split, split_source
    from eetool.data.views import take_examples
    from eetool.data.vocabulary import use_model_vocabulary
    from eetool.export.calibration import calibration_inputs, evenly_spaced

    record, given = order.checkpoint.record, order.calibration_data
    recorded = record.data.source if record.data else ""
    form = model_form(record.spec.inputs, "the model")
    try:
        if given is None and not is_local(recorded):
            raise MissingError(f"{recorded} would have to be downloaded")
        read = given if isinstance(given, Source) else load_source(given or recorded, progress, form)
        read = as_recorded(read, record.data, record.contents, progress)
        source = use_model_vocabulary(read, record.spec.inputs)
    except EarlyExitError:
        if given is not None:
            raise
        if any(name.endswith(_INT8) for name in order.variants):
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
    return _CalibrationData(calibration_inputs(take_examples(source, chosen), record.spec.inputs), labelled)


def _measured_times(profile: Path | None) -> "ThreadTimes | None":
    if profile is None:
        return None
    from eetool.profile.profiler import SCHEMA, Profile
    from eetool.records import read_record

    return read_record(Profile, profile, SCHEMA).chosen
