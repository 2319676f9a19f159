"""Tuning of a checkpoint or a bundle: costs on a device, the fit, and the file that is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.api.arguments import Data, as_source
from eetool.api.offload_tuning import LinkOrder, OffloadTuning, keep_server, read_link, tune_offload
from eetool.errors import ArtefactError, OutputError, UsageError
from eetool.progress import Progress

if TYPE_CHECKING:
    from eetool.latency.table.hw_profile import HwProfile
    from eetool.model.checkpoint import Checkpoint
    from eetool.model.goals import CostSource, TuningGoals
    from eetool.model.spec import ExpectedDrop
    from eetool.tune.device_costs import DeviceCosts
    from eetool.tune.operating_points import TuningResult
    from eetool_runtime import Bundle
    from eetool_runtime.manifest import DeviceSettings, Manifest, OperatingPoint

_LATENCY, _ENERGY = "latency_ms", "energy_mj"
_ONNX_FP32 = "onnx/fp32"


@dataclass(frozen=True)
class TuningOrder:
    """Model to tune, with which goals, and where the result goes.

    Attributes:
        model: a model.pt or a bundle, or an opened checkpoint.
        output: file or bundle to write; None for `model` itself, which an opened checkpoint is not written to.
        goals: goals of the fit, without the source of costs.
        named: goals that the user named, see `eetool.tune.refit.merge_goals`.
        device: hw profile whose costs thresholds minimise.
        profile: document of `eetool profile` whose costs thresholds minimise.
        score: gate score of a checkpoint.
        variant: variant of a bundle.
        default: default operating point; by default the cheapest that keeps the accuracy drop.
        references: code that a checkpoint may be built with.
        force: replace an existing output, or an earlier policy.
        check_table: correct the table of this machine by a check of a few seconds first.
        link: measured link to a server, for a bundle that asks one.
    """

    model: "Path | Checkpoint"
    output: Path | None
    goals: "TuningGoals"
    named: frozenset[str] = frozenset()
    device: str | None = None
    profile: Path | None = None
    score: str | None = None
    variant: str | None = None
    default: str | None = None
    references: tuple[str, ...] = ()
    force: bool = False
    check_table: bool = False
    link: LinkOrder | None = None

    @property
    def target(self) -> Path | None:
        """File or bundle that the result is written to."""
        return self.output or (self.model if isinstance(self.model, Path) else None)

    @property
    def in_place(self) -> bool:
        """True where the result replaces the model."""
        return self.target is not None and self.target == self.model

    @property
    def is_bundle(self) -> bool:
        """True for a bundle."""
        return isinstance(self.model, Path) and self.model.is_dir()

    @property
    def cost_unit(self) -> str:
        """Unit of the costs on a device."""
        budget = self.goals.budget
        return _ENERGY if budget is not None and budget.unit == _ENERGY else _LATENCY


@dataclass(frozen=True)
class TunedModel:
    """Result of tuning.

    Attributes:
        output: file or bundle that was written; None where nothing was.
        checkpoint: the tuned checkpoint; None for a bundle.
        goals: goals of the fit.
        result: calibration, operating points, diagnoses, and goals that were not kept.
        device_costs: costs on the device that thresholds minimise; None for MACs.
        mean_costs: mean cost of an input on the device, by operating point; empty without a device.
        offload: choice between a server and the device alone; None without a link.
    """

    output: Path | None
    checkpoint: "Checkpoint | None"
    goals: "TuningGoals"
    result: "TuningResult"
    device_costs: "DeviceCosts | None"
    mean_costs: Mapping[str, float]
    offload: OffloadTuning | None = None

    @property
    def operating_points(self) -> "dict[str, OperatingPoint]":
        """Operating points by name, `full` first."""
        return self.result.operating_points


def check_tuning_output(order: TuningOrder) -> None:
    """Check before torch is imported that the result can be written, and that a bundle has what is asked for.

    Raises:
        OutputError: it could not, or a bundle was tuned before and `force` was not given.
        UsageError: there is no such variant or operating point.
    """
    from eetool.records import check_output
    from eetool.tune.point_names import check_point, point_names

    if order.target is not None:
        check_output(order.target, order.force or order.in_place, directory=order.is_bundle)
    if order.is_bundle:
        from eetool_runtime import open_bundle

        assert isinstance(order.model, Path)
        bundle = open_bundle(order.model)
        variant = bundle.variant(order.variant or next(iter(bundle.manifest.variants)))
        _check_tuned_before(order, len(variant.operating_points) > 1)
        if order.link is not None:
            read_link(order.link, bundle)
    elif order.default is not None:
        check_point(order.default, point_names(order.goals))


def tune_model(order: TuningOrder, data: Data, progress: Progress) -> TunedModel:
    """Fit a policy on `data`, which is read as the model takes it, and write the tuned model.

    Raises:
        UsageError: an argument contradicts the model.
        OutputError: it was tuned before and `force` was not given, or it changed during the work.
        ArtefactError, BudgetError: see `eetool.tune.fit_policy.fit_policy`.
    """
    if order.is_bundle:
        if order.score is not None:
            raise UsageError(
                "the score is part of a bundle's graphs", "Tune its model.pt with --score and export that."
            )
        return _tune_bundle(order, data, progress)
    if order.variant is not None:
        raise UsageError("--variant is for bundles; a model.pt has no variants yet")
    if order.link is not None:
        raise UsageError("--link is for bundles that ask a server", "Export the model with --offload first.")
    return _tune_checkpoint(order, data, progress)


def _tune_checkpoint(order: TuningOrder, data: Data, progress: Progress) -> TunedModel:
    from eetool.data.contents import as_recorded
    from eetool.data.image_form import model_form
    from eetool.data.source import check_classes
    from eetool.data.vocabulary import use_model_vocabulary
    from eetool.model.checkpoint import load_checkpoint, save_checkpoint
    from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
    from eetool.model.spec import Policy
    from eetool.records import identity
    from eetool.train.exit_answers import NetworkAnswers
    from eetool.tune.exit_costs import model_macs
    from eetool.tune.fit_policy import fit_policy
    from eetool.tune.unused_networks import unused_networks

    if isinstance(order.model, Path):
        read = identity(order.model)
        checkpoint, name = load_checkpoint(order.model, order.references), str(order.model)
    else:
        read, checkpoint, name = None, order.model, "the model"
    _check_tuned_before(order, checkpoint.record.policy is not None)
    spec = checkpoint.record.spec
    score = order.score or (LEARNED if spec.learned_confidence else MAX_SOFTMAX)
    if score == LEARNED and not spec.learned_confidence:
        raise UsageError("the model has no learned confidence", "Train it with --recipe confidence.")
    macs = model_macs(spec, score)
    device_costs = _device_costs(order, progress, score=score)
    costs = device_costs.costs if device_costs else macs
    source = as_source(data, progress, model_form(spec.inputs, name))
    check_classes(source, spec.labels, name)
    source = as_recorded(source, checkpoint.record.data, checkpoint.record.contents, progress)
    source = use_model_vocabulary(source, spec.inputs)
    answers_of = NetworkAnswers(checkpoint)
    tuned = fit_policy(source, checkpoint.record.data, answers_of, costs, macs, order.goals, score, progress)
    unused = unused_networks(spec.taps, tuned.operating_points)
    tuned = replace(
        tuned, default=order.default or tuned.default, warnings=(*tuned.warnings, *unused, *_omitted(device_costs))
    )
    fitted = tuned.calibration
    costs_of = _cost_source(order, device_costs, _ONNX_FP32)
    goals = replace(order.goals, calibration=fitted.method, costs=costs_of, default=order.default)
    limits = goals.max_accuracy_drop, fitted.slopes, fitted.offsets, goals
    points, drops = tuned.operating_points, tuned.expected_drops
    policy = Policy(score, fitted.temperatures, points, *limits, tuned.default, drops, tuned.stream)
    checkpoint = checkpoint.with_policy(policy)
    if order.target is not None:
        save_checkpoint(order.target, checkpoint, _may_replace(order, read))
    return _tuned(order, checkpoint, goals, tuned, device_costs)


def _tune_bundle(order: TuningOrder, data: Data, progress: Progress) -> TunedModel:
    from eetool.data.contents import as_recorded
    from eetool.data.image_form import model_form
    from eetool.export.bundle_files import read_contents, read_goals
    from eetool.records import identity
    from eetool.tune.point_names import check_point, point_names
    from eetool.tune.refit import earlier_points, fit_bundle, keep_default, merge_goals, with_default
    from eetool.tune.unused_networks import unused_networks
    from eetool_runtime import open_bundle

    assert isinstance(order.model, Path)
    read = identity(order.model)
    bundle = open_bundle(order.model)
    name = order.variant or next(iter(bundle.manifest.variants))
    device_costs = _device_costs(order, progress, name)
    given = replace(order.goals, costs=_cost_source(order, device_costs, name), default=order.default)
    goals = merge_goals(read_goals(bundle), given, order.named)
    costs = device_costs.costs if device_costs else None
    if order.default is not None:
        check_point(order.default, list(dict.fromkeys([*point_names(goals), *earlier_points(bundle.manifest, name)])))
    source = as_source(data, progress, model_form(bundle.manifest.inputs, str(order.model)))
    source = as_recorded(source, bundle.manifest.data, read_contents(bundle), progress)
    manifest, tuned = fit_bundle(bundle, name, source, goals, given, costs, progress)
    unused = unused_networks([e.tap for e in manifest.exits[:-1]], tuned.operating_points)
    tuned = replace(tuned, warnings=(*tuned.warnings, *unused, *_omitted(device_costs)))
    if order.default is not None:
        manifest, tuned = with_default(manifest, order.default), replace(tuned, default=order.default)
    elif goals.default is not None:
        manifest, tuned, kept = keep_default(manifest, tuned, goals.default)
        goals = replace(goals, default=kept)
    if device_costs and device_costs.settings is not None:
        manifest = replace(manifest, devices=_with_settings(manifest.devices, device_costs, name))
    offload = None
    if order.link is not None:
        assert device_costs is not None  # `_device_costs` requires them
        manifest, offload = tune_offload(bundle, manifest, name, goals, device_costs, source, order.link, progress)
    else:
        manifest, lines = keep_server(manifest, name)
        tuned = replace(tuned, warnings=(*tuned.warnings, *lines))
    fit = replace(goals, calibration=tuned.calibration.method), tuned.expected_drops
    _write_bundle(order, bundle, manifest, name, *fit, read, offload)
    return replace(_tuned(order, None, goals, tuned, device_costs), offload=offload)


def _tuned(
    order: TuningOrder,
    checkpoint: "Checkpoint | None",
    goals: "TuningGoals",
    tuned: "TuningResult",
    costs: "DeviceCosts | None",
) -> TunedModel:
    from eetool.tune.operating_points import mean_costs

    means = mean_costs(tuned, costs.costs) if costs is not None else {}
    return TunedModel(order.target, checkpoint, goals, tuned, costs, means)


def _device_costs(
    order: TuningOrder, progress: Progress, variant: str = _ONNX_FP32, score: str | None = None
) -> "DeviceCosts | None":
    """Return the costs on the device; None without a device, where MACs are minimised."""
    from eetool.api.arguments import checkpoint_file, own_references
    from eetool.export.temporary_bundle import temporary_bundle
    from eetool.latency.estimate.prediction_target import open_target
    from eetool.profile.profiler import SCHEMA, Profile
    from eetool.records import read_record
    from eetool.tune.device_costs import measured_costs, predicted_costs

    if order.device is None and order.profile is None:
        if order.link is not None:
            raise UsageError("a link pays or not by what the device costs", "Give --profile p.json or --device NAME.")
        return None
    if not isinstance(order.model, Path):
        with checkpoint_file(order.model) as path:
            own = replace(order, model=path, references=own_references(order.model))
            return _device_costs(own, progress, variant, score)
    path, references = order.model, order.references
    if order.device is not None:
        device = _present_device(order, order.device, variant, progress)
        return predicted_costs(path, device, temporary_bundle, variant, order.cost_unit, references, score)
    assert order.profile is not None
    document = read_record(Profile, order.profile, SCHEMA)
    if document.variant != variant:
        raise ArtefactError(
            f"{order.profile}: is of the variant {document.variant}, not of {variant}", "Give --variant."
        )
    with open_target(path, temporary_bundle, references, score) as opened:
        assert not isinstance(opened, Path)  # only an ONNX file stays a path
        return measured_costs(document, order.profile, opened, order.cost_unit)


def _omitted(costs: "DeviceCosts | None") -> tuple[str, ...]:
    return () if costs is None else costs.omitted


def _present_device(order: TuningOrder, device: str, variant: str, progress: Progress) -> "HwProfile":
    """Return the hw profile of the device, at its present speed where the table is of this machine."""
    from eetool.api.checked_device import at_present_speed
    from eetool.latency.table.hw_profile import load_device
    from eetool.latency.table.table import backend_of

    profile = load_device(device)
    if not order.check_table:
        return profile
    kind = (backend_of(variant), variant.split("/")[-1], 1)
    profile, remarks = at_present_speed(device, profile, kind, progress)
    for remark in remarks:
        progress.note(f"warning: {remark}")
    return profile


def _check_tuned_before(order: TuningOrder, tuned_before: bool) -> None:
    """Require `force` to replace an earlier policy in place; a first policy only adds to the file."""
    if order.in_place and tuned_before and not order.force:
        raise OutputError(
            f"{order.model} was tuned before", "Give --force to replace its policy, or -o for another place."
        )


def _may_replace(order: TuningOrder, read: tuple[int, ...] | None) -> bool:
    """Return whether the result may replace the target: in place only the file that was read.

    Raises:
        OutputError: another program changed the file during the work.
    """
    from eetool.records import identity

    if not order.in_place or order.force:
        return order.force
    assert isinstance(order.model, Path)
    now = identity(order.model)
    if now not in (read, None):
        raise OutputError(f"{order.model} was changed by another program during the work", "Tune what it is now.")
    return now is not None


def _write_bundle(
    order: TuningOrder,
    bundle: "Bundle",
    manifest: "Manifest",
    variant: str,
    goals: "TuningGoals",
    drops: "dict[str, ExpectedDrop]",
    read: tuple[int, ...] | None,
    offload: OffloadTuning | None,
) -> None:
    """Write the files of `bundle` with another manifest, and with the samples of the variant that was tuned."""
    from eetool.export.bundle_files import bundle_name, copy_files, save_arrays, write_goals, write_manifest
    from eetool.export.expected_drops import read_drops, write_drops
    from eetool.export.offload.costs_file import read_forecasts, write_forecasts
    from eetool.export.parity import expected_samples
    from eetool.records import write_directory
    from eetool_runtime.loading import load_to_judge

    assert order.target is not None
    with write_directory(order.target, _may_replace(order, read)) as folder:
        copy_files(bundle, folder)
        write_goals(folder, goals)
        write_drops(folder, {**read_drops(bundle), variant: drops})
        forecasts = {name: one for name, one in read_forecasts(bundle).items() if name != variant}
        write_forecasts(folder, forecasts if offload is None else {**forecasts, variant: offload.forecast})
        write_manifest(folder, manifest)  # the samples need a model with the new temperatures
        exits = load_to_judge(folder, variant=variant).every_exit(bundle.arrays(manifest.samples))
        save_arrays(folder / manifest.variants[variant].samples, expected_samples(manifest, variant, exits))
        write_manifest(folder, replace(manifest, name=bundle_name(order.target)))


def _cost_source(order: TuningOrder, costs: "DeviceCosts | None", variant: str) -> "CostSource | None":
    """Return the source of the costs that thresholds minimise; None for MACs."""
    from eetool.latency.table.hw_profile import is_profile_file
    from eetool.model.goals import HW_PROFILE, HW_PROFILE_FILE, MEASUREMENT, CostSource

    if costs is None:
        return None
    if order.device is None:
        return CostSource(costs.device, costs.unit, MEASUREMENT, variant)
    kind = HW_PROFILE_FILE if is_profile_file(order.device) else HW_PROFILE
    return CostSource(costs.device, costs.unit, kind, variant)


def _with_settings(
    devices: "Mapping[str, DeviceSettings]", costs: "DeviceCosts", variant: str
) -> "dict[str, DeviceSettings]":
    """Return `devices` with the measured settings of one variant added."""
    from eetool_runtime.manifest import DeviceSettings

    assert costs.settings is not None
    machine, measured = costs.settings
    before = devices.get(costs.device)
    kept = before.variants if before is not None and before.machine == machine else {}
    return {**devices, costs.device: DeviceSettings(machine, {**kept, variant: measured})}
