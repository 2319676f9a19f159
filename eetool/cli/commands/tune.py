"""`eetool tune`."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from eetool.cli.options import (
    CHECKPOINT_OR_BUNDLE,
    DEVICE,
    PROFILE,
    FiniteRange,
    data_option,
    force_option,
    named_option,
    output_option,
)
from eetool.cli.output import CommandResult, verb_with_request
from eetool.cli.progress_bars import TerminalProgress
from eetool.cli.shell_completion import complete_hw_profile
from eetool.cli.tune_output import DeviceFigures, tune_result

if TYPE_CHECKING:
    from eetool.data.source import Source
    from eetool.model.goals import Budget, CostSource, TuningGoals
    from eetool.tune.device_costs import DeviceCosts
    from eetool.tune.operating_points import TuningResult
    from eetool_runtime import Bundle
    from eetool_runtime.manifest import DeviceSettings, Manifest

_MACS, _LATENCY, _ENERGY = "macs", "latency_ms", "energy_mj"
_ONNX_FP32 = "onnx/fp32"


@dataclass(frozen=True)
class TuneRequest:
    """Options of `eetool tune`."""

    model: Path
    data: str
    output: Path | None
    max_accuracy_drop: float
    certify: float | None
    max_macs: float | None
    max_latency_ms: float | None
    max_energy_mj: float | None
    device: str | None
    profile: Path | None
    drops: str | None
    standard_errors: float
    score: str | None
    calibration: str | None
    variant: str | None
    named: tuple[str, ...]
    force: bool

    @property
    def target(self) -> Path:
        """File or bundle that the result is written to."""
        return self.output or self.model

    @property
    def cost_unit(self) -> str:
        """Unit of the costs on a device."""
        return _ENERGY if self.max_energy_mj is not None else _LATENCY


@verb_with_request(TuneRequest)
@click.argument("model", type=CHECKPOINT_OR_BUNDLE)
@data_option()
@output_option("The tuned model.  [MODEL itself, if it was not tuned before]")
@click.option(
    "--max-accuracy-drop",
    type=FiniteRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percentage points that `fast` may lose against full depth; `balanced` may lose half of it.",
)
@click.option(
    "--certify",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=None,
    metavar="P",
    help="Also make a point `certified`: with probability P its drop is no larger on new data.",
)
@click.option("--max-macs", type=FiniteRange(0, min_open=True), default=None, help="Mean over inputs; see below.")
@click.option("--max-latency-ms", type=FiniteRange(0, min_open=True), default=None, help="Mean over inputs; see below.")
@click.option("--max-energy-mj", type=FiniteRange(0, min_open=True), default=None, help="Mean over inputs; see below.")
@click.option(
    "--device",
    type=DEVICE,
    default=None,
    metavar="NAME",
    shell_complete=complete_hw_profile,
    help="Minimise the cost that its table predicts, not MACs.",
)
@click.option("--profile", type=PROFILE, default=None, help="Minimise the cost in this document of `eetool profile`.")
@click.option("--drops", default=None, metavar="D,D,…", help="One more operating point for each accuracy drop.")
@click.option(
    "--standard-errors",
    type=FiniteRange(0, 10),
    default=1.0,
    show_default=True,
    help="Margin of a drop: so many of its standard errors, times the root of the number of thresholds.",
)
@click.option(
    "--score",
    type=click.Choice(["max_softmax", "entropy", "margin", "learned", "patience"]),
    default=None,
    help="Confidence that gates compare.  [max_softmax, or learned where the model has it]",
)
@click.option(
    "--calibration",
    type=click.Choice(["temperature", "platt"]),
    default=None,
    help="Calibration of confidences.  [temperature, or that of a bundle]",
)
@click.option("--variant", default=None, help="Variant of a bundle to tune.  [the first]")
@named_option
@force_option
def tune(request: TuneRequest) -> CommandResult:
    """Fit temperatures and thresholds of MODEL, a model.pt or a bundle.

    Temperatures and thresholds are fitted on splits of their own, which neither training nor `bench` uses.

    With --device or --profile thresholds minimise latency on that device, or energy with --max-energy-mj. A budget, of
    MACs without a device, adds the operating point `budget`, the most accurate that keeps it.

    The model records its goals. A bundle keeps the recorded ones where no option replaces them; --drops are added.
    """
    from eetool.data.registry import load_source
    from eetool.errors import UsageError
    from eetool.records import check_output

    in_place = request.target == request.model
    check_output(request.target, request.force or in_place, directory=request.model.is_dir())
    from eetool.model.goals import TuningGoals

    goals = TuningGoals(
        request.max_accuracy_drop,
        request.certify,
        _drops(request.drops),
        _budget(request),
        request.calibration,
        request.standard_errors,
    )
    source = load_source(request.data, TerminalProgress())
    if request.model.is_dir():
        if request.score is not None:
            raise UsageError(
                "the score is part of a bundle's graphs", "Tune its model.pt with --score and export that."
            )
        goals, tuned, figures = _tune_bundle(request, source, goals)
    elif request.variant is not None:
        raise UsageError("--variant is for bundles; a model.pt has no variants yet")
    else:
        tuned, figures = _tune_checkpoint(request, source, goals)
    return tune_result(request.target, tuned, goals.max_accuracy_drop, figures)


def _budget(request: TuneRequest) -> "Budget | None":
    from eetool.errors import UsageError
    from eetool.model.goals import Budget

    limits = {_MACS: request.max_macs, _LATENCY: request.max_latency_ms, _ENERGY: request.max_energy_mj}
    given = {unit: most for unit, most in limits.items() if most is not None}
    on_device = request.device is not None or request.profile is not None
    if request.device is not None and request.profile is not None:
        raise UsageError("--device predicts and --profile was measured", "Give one of them.")
    if len(given) > 1:
        raise UsageError("thresholds minimise one cost", "Give one of --max-macs, --max-latency-ms, --max-energy-mj.")
    if not given:
        return None
    ((unit, most),) = given.items()
    if unit == _MACS and on_device:
        raise UsageError("thresholds minimise one cost", "Give --max-macs without a device, or --max-latency-ms.")
    if unit != _MACS and not on_device:
        raise UsageError("a budget of which device?", "Give --device NAME, or --profile p.json.")
    return Budget(unit, most)


def _device_costs(request: TuneRequest, variant: str = _ONNX_FP32, score: str | None = None) -> "DeviceCosts | None":
    """Return the costs on the device; None without a device, where MACs are minimised."""
    from eetool.errors import ArtefactError
    from eetool.export.temporary_bundle import temporary_bundle
    from eetool.latency.estimate.prediction_target import open_target
    from eetool.profile.profiler import SCHEMA, Profile
    from eetool.records import read_record
    from eetool.tune.device_costs import measured_costs, predicted_costs

    if request.device:
        return predicted_costs(
            request.model, request.device, temporary_bundle, variant, request.cost_unit, request.named, score
        )
    if request.profile is None:
        return None
    document = read_record(Profile, request.profile, SCHEMA)
    if document.variant != variant:
        raise ArtefactError(
            f"{request.profile}: is of the variant {document.variant}, not of {variant}", "Give --variant."
        )
    with open_target(request.model, temporary_bundle, request.named, score) as opened:
        assert not isinstance(opened, Path)  # only an ONNX file stays a path
        return measured_costs(document, request.profile, opened, request.cost_unit)


def _drops(text: str | None) -> tuple[float, ...]:
    from eetool.errors import UsageError

    try:
        drops = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        drops = (-1.0,)
    if not all(0 <= drop <= 100 for drop in drops):
        raise UsageError(f"--drops {text!r} are not percentage points", "Such as 0.5,1,2.")
    return drops


def _check_tuned_before(request: TuneRequest, tuned_before: bool) -> None:
    """Require --force to replace an earlier policy in place; a first policy only adds to the file."""
    from eetool.errors import OutputError

    if request.target == request.model and tuned_before and not request.force:
        raise OutputError(
            f"{request.model} was tuned before", "Give --force to replace its policy, or -o for another place."
        )


def _may_replace(request: TuneRequest, read: tuple[int, ...] | None) -> bool:
    """Return whether the result may replace the target: in place only the file that was read.

    Raises:
        OutputError: another program changed the file during the work.
    """
    from eetool.errors import OutputError
    from eetool.records import identity

    if request.target != request.model or request.force:
        return request.force
    now = identity(request.model)
    if now not in (read, None):
        raise OutputError(f"{request.model} was changed by another program during the work", "Tune what it is now.")
    return now is not None


def _tune_checkpoint(
    request: TuneRequest, source: "Source", goals: "TuningGoals"
) -> "tuple[TuningResult, DeviceFigures | None]":
    from eetool.data.source import check_classes
    from eetool.data.vocabulary import use_model_vocabulary
    from eetool.errors import UsageError
    from eetool.model.checkpoint import load_checkpoint, save_checkpoint
    from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
    from eetool.model.spec import Policy
    from eetool.records import identity
    from eetool.train.pipeline import answer_arrays
    from eetool.tune.exit_costs import model_macs
    from eetool.tune.fit_policy import fit_policy
    from eetool.tune.operating_points import mean_costs

    read = identity(request.model)
    checkpoint = load_checkpoint(request.model, request.named)
    _check_tuned_before(request, checkpoint.record.policy is not None)
    spec = checkpoint.record.spec
    score = request.score or (LEARNED if spec.learned_confidence else MAX_SOFTMAX)
    if score == LEARNED and not spec.learned_confidence:
        raise UsageError("the model has no learned confidence", "Train it with --recipe confidence.")
    macs = model_macs(spec, score)
    device_costs = _device_costs(request, score=score)
    costs = device_costs.costs if device_costs else macs
    answers_of = partial(answer_arrays, checkpoint)
    check_classes(source, spec.labels, str(request.model))
    source = use_model_vocabulary(source, spec.inputs)
    tuned = fit_policy(source, checkpoint.record.data, answers_of, costs, macs, goals, score, TerminalProgress())
    fitted = tuned.calibration
    goals = replace(goals, calibration=fitted.method, costs=_cost_source(request, device_costs, _ONNX_FP32))
    limits = goals.max_accuracy_drop, fitted.slopes, fitted.offsets, goals
    policy = Policy(score, fitted.temperatures, tuned.operating_points, *limits)
    save_checkpoint(request.target, checkpoint.with_policy(policy), _may_replace(request, read))
    return tuned, DeviceFigures(device_costs, mean_costs(tuned, costs)) if device_costs else None


def _tune_bundle(
    request: TuneRequest, source: "Source", options: "TuningGoals"
) -> "tuple[TuningGoals, TuningResult, DeviceFigures | None]":
    from eetool.export.bundle_files import read_goals
    from eetool.records import identity
    from eetool.tune.operating_points import mean_costs
    from eetool.tune.refit import fit_bundle, merge_goals
    from eetool_runtime import open_bundle

    read = identity(request.model)
    bundle = open_bundle(request.model)
    name = request.variant or next(iter(bundle.manifest.variants))
    _check_tuned_before(request, len(bundle.variant(name).operating_points) > 1)
    device_costs = _device_costs(request, name)
    given = replace(options, costs=_cost_source(request, device_costs, name))
    goals = merge_goals(read_goals(bundle), given, _named_goals())
    costs = device_costs.costs if device_costs else None
    manifest, tuned = fit_bundle(bundle, name, source, goals, given, costs, TerminalProgress())
    if device_costs and device_costs.settings is not None:
        manifest = replace(manifest, devices=_with_settings(manifest.devices, device_costs, name))
    _write_bundle(request, bundle, manifest, name, replace(goals, calibration=tuned.calibration.method), read)
    if device_costs is None:
        return goals, tuned, None
    return goals, tuned, DeviceFigures(device_costs, mean_costs(tuned, device_costs.costs))


def _write_bundle(
    request: TuneRequest,
    bundle: "Bundle",
    manifest: "Manifest",
    variant: str,
    goals: "TuningGoals",
    read: tuple[int, ...] | None,
) -> None:
    """Write the files of `bundle` with another manifest, and with the samples of the variant that was tuned."""
    from eetool.export.bundle_files import bundle_name, save_arrays, write_goals, write_manifest
    from eetool.export.parity import expected_samples
    from eetool.records import write_directory
    from eetool_runtime import load

    with write_directory(request.target, _may_replace(request, read)) as folder:
        for relative in bundle.manifest.files:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.file(relative), folder / relative)
        write_goals(folder, goals)
        write_manifest(folder, manifest)  # the samples need a model with the new temperatures
        exits = load(folder, variant=variant).every_exit(bundle.arrays(manifest.samples))
        save_arrays(folder / manifest.variants[variant].samples, expected_samples(manifest, variant, exits))
        write_manifest(folder, replace(manifest, name=bundle_name(request.target)))


def _cost_source(request: TuneRequest, costs: "DeviceCosts | None", variant: str) -> "CostSource | None":
    """Return the source of the costs that thresholds minimise; None for MACs."""
    from eetool.latency.table.hw_profile import is_profile_file
    from eetool.model.goals import HW_PROFILE, HW_PROFILE_FILE, MEASUREMENT, CostSource

    if costs is None:
        return None
    if request.device is None:
        return CostSource(costs.device, costs.unit, MEASUREMENT, variant)
    kind = HW_PROFILE_FILE if is_profile_file(request.device) else HW_PROFILE
    return CostSource(costs.device, costs.unit, kind, variant)


def _named_goals() -> set[str]:
    """Return the goals that the user gave on the command line, by the names of their options."""
    from eetool.tune.refit import OPTION_GOALS

    source = click.get_current_context().get_parameter_source
    return {name for name in OPTION_GOALS if source(name) is ParameterSource.COMMANDLINE}


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


command = tune
