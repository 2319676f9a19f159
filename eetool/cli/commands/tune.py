"""`eetool tune`."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from eetool.cli.options import MODEL, PATH, FiniteRange, data_option, force_option, named_option, output_option
from eetool.cli.output import CommandResult, TerminalProgress, verb
from eetool.cli.shell_completion import complete_device
from eetool.cli.tune_output import tune_result

_MACS, _LATENCY = "macs", "latency_ms"


@verb
@click.argument("model", type=MODEL)
@data_option()
@output_option("Where the result goes.  [MODEL itself, if it was not tuned before]")
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
    default=None,
    metavar="NAME",
    shell_complete=complete_device,
    help="Minimise what its hw profile predicts, and not MACs.",
)
@click.option("--profile", type=PATH, default=None, help="Minimise what `eetool profile` measured, and not MACs.")
@click.option("--drops", default=None, metavar="D,D,…", help="One more operating point for each accuracy drop.")
@click.option(
    "--standard-errors",
    type=FiniteRange(0, 10),
    default=1.0,
    show_default=True,
    help="Room for luck: so many standard errors of a drop, times the root of the number of thresholds.",
)
@click.option(
    "--score",
    type=click.Choice(["max_softmax", "entropy", "margin", "learned", "patience"]),
    default=None,
    help="What gates go by.  [max_softmax, or learned where the model has it]",
)
@click.option(
    "--calibration",
    type=click.Choice(["temperature", "platt"]),
    default=None,
    help="What makes confidences mean what they say.  [temperature, or what a bundle has]",
)
@click.option("--variant", default=None, help="Variant of a bundle to fit.  [the first]")
@named_option
@force_option
def tune(
    model: Path,
    named: tuple[str, ...],
    data: str,
    output: Path | None,
    max_accuracy_drop: float,
    certify: float | None,
    max_macs: float | None,
    max_latency_ms: float | None,
    max_energy_mj: float | None,
    device: str | None,
    profile: Path | None,
    drops: str | None,
    standard_errors: float,
    score: str | None,
    calibration: str | None,
    variant: str | None,
    force: bool,
) -> CommandResult:
    """Fit temperatures, thresholds and operating points of MODEL, a model.pt or a bundle.

    Temperatures and thresholds are fitted on splits of their own, which neither training nor `bench` ever sees.

    The model records its goals. A bundle keeps the recorded ones where no option replaces them; --drops are added.

    With --device or --profile thresholds minimise latency on that device, or energy with --max-energy-mj. A budget, of
    MACs without a device, adds the operating point `budget`, the most accurate that keeps it.
    """
    from eetool.data.registry import load_source
    from eetool.errors import UsageError
    from eetool.records import check_output

    target = output or model
    check_output(target, force or target == model, directory=model.is_dir())
    from eetool.model.goals import TuningGoals

    budget = _budget({_MACS: max_macs, _LATENCY: max_latency_ms, "energy_mj": max_energy_mj}, device, profile)
    goals = TuningGoals(max_accuracy_drop, certify, _drops(drops), budget, calibration, standard_errors)
    unit = budget.unit if budget else _LATENCY
    prices = partial(_priced, model, named, device, profile, unit) if device or profile else _nothing
    source = load_source(data, TerminalProgress())
    if model.is_dir():
        if score is not None:
            raise UsageError(
                "the score is part of a bundle's graphs", "Tune its model.pt with --score and export that."
            )
        goals, tuned, costs = _tune_bundle(model, target, variant, source, goals, device, prices, force)
    elif variant is not None:
        raise UsageError("--variant is for bundles; a model.pt has no variants yet")
    else:
        tuned, costs = _tune_checkpoint(model, named, target, source, goals, score, device, prices, force)
    return tune_result(target, tuned, goals.max_accuracy_drop, costs)


def _budget(limits: dict[str, float | None], device: str | None, profile: Path | None) -> Any:
    from eetool.errors import UsageError
    from eetool.model.goals import Budget

    given = {unit: most for unit, most in limits.items() if most is not None}
    if device is not None and profile is not None:
        raise UsageError("--device predicts and --profile was measured", "Give one of them.")
    if len(given) > 1:
        raise UsageError("thresholds minimise one cost", "Give one of --max-macs, --max-latency-ms, --max-energy-mj.")
    if not given:
        return None
    ((unit, most),) = given.items()
    if unit == _MACS and (device or profile):
        raise UsageError("thresholds minimise one cost", "Give --max-macs without a device, or --max-latency-ms.")
    if unit != _MACS and device is None and profile is None:
        raise UsageError("a budget of which device?", "Give --device NAME, or --profile p.json.")
    return Budget(unit, most)


def _priced(
    model: Path,
    named: tuple[str, ...],
    device: str | None,
    profile: Path | None,
    unit: str,
    variant: str = "onnx/fp32",
    score: str | None = None,
) -> Any:
    """Return the costs of a model.pt or a bundle on a device."""
    from eetool.errors import ArtefactError
    from eetool.export.temporary_bundle import temporary_bundle
    from eetool.latency.estimate.prediction_target import open_target
    from eetool.profile.profiler import SCHEMA, Profile
    from eetool.records import read_record
    from eetool.tune.device_costs import measured_costs, predicted_costs

    if device is not None:
        return predicted_costs(model, device, temporary_bundle, variant, unit, named, score)
    assert profile is not None
    document = read_record(Profile, profile, SCHEMA)
    if document.variant != variant:
        raise ArtefactError(f"{profile}: is of the variant {document.variant}, not of {variant}", "Give --variant.")
    with open_target(model, temporary_bundle, named, score) as opened:
        return measured_costs(document, profile, opened, unit)  # type: ignore[arg-type]  # no ONNX file: it is tuned


def _nothing(variant: str = "onnx/fp32", score: str | None = None) -> None:
    """Without a device MACs are minimised."""


def _drops(text: str | None) -> tuple[float, ...]:
    from eetool.errors import UsageError

    try:
        drops = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        drops = (-1.0,)
    if not all(0 <= drop <= 100 for drop in drops):
        raise UsageError(f"--drops {text!r} are not percentage points", "Such as 0.5,1,2.")
    return drops


def _keep(path: Path, output: Path, tuned_before: bool, force: bool) -> None:
    """Tuning in place adds to a file; only where it would replace an earlier policy does it need --force."""
    from eetool.errors import OutputError

    if output == path and tuned_before and not force:
        raise OutputError(f"{path} was tuned before", "Give --force to replace its policy, or -o for another place.")


def _may_replace(path: Path, output: Path, read: tuple[int, ...] | None, force: bool) -> bool:
    """Whether the result may replace `output`: in place the file that was read, and none that took its place."""
    from eetool.errors import OutputError
    from eetool.records import identity

    if output != path or force:
        return force
    now = identity(path)
    if now not in (read, None):
        raise OutputError(f"{path} was changed by another program during the work", "Tune what it is now.")
    return now is not None


def _tune_checkpoint(
    path: Path,
    named: tuple[str, ...],
    output: Path,
    source: Any,
    goals: Any,
    score: str | None,
    device: str | None,
    prices: Any,
    force: bool,
) -> tuple[Any, Any]:
    from eetool.errors import UsageError
    from eetool.model.checkpoint import load_checkpoint, save_checkpoint
    from eetool.model.gate_scores import LEARNED, MAX_SOFTMAX
    from eetool.model.spec import Policy
    from eetool.records import identity
    from eetool.train.pipeline import answer_arrays
    from eetool.tune.exit_costs import model_macs
    from eetool.tune.fit_policy import fit_policy
    from eetool.tune.operating_points import mean_costs

    read = identity(path)
    checkpoint = load_checkpoint(path, named)
    _keep(path, output, checkpoint.record.policy is not None, force)
    spec = checkpoint.record.spec
    score = score or (LEARNED if spec.learned_confidence else MAX_SOFTMAX)
    if score == LEARNED and not spec.learned_confidence:
        raise UsageError("the model has no learned confidence", "Train it with --recipe confidence.")
    macs = model_macs(spec, score)
    priced = prices(score=score)
    costs = priced.costs if priced else macs
    answers_of = partial(answer_arrays, checkpoint)
    tuned = fit_policy(source, checkpoint.record.data, answers_of, costs, macs, goals, score, TerminalProgress())
    fitted = tuned.calibration
    goals = replace(goals, calibration=fitted.method, costs=_cost_source(priced, device, "onnx/fp32"))
    limits = goals.max_accuracy_drop, fitted.slopes, fitted.offsets, goals
    policy = Policy(score, fitted.temperatures, tuned.operating_points, *limits)
    save_checkpoint(output, checkpoint.with_policy(policy), _may_replace(path, output, read, force))
    return tuned, (priced, mean_costs(tuned, costs)) if priced else None


def _tune_bundle(
    path: Path,
    output: Path,
    variant: str | None,
    source: Any,
    goals: Any,
    device: str | None,
    prices: Any,
    force: bool,
) -> tuple[Any, Any, Any]:
    from eetool.export.bundle_files import bundle_name, read_goals, save_arrays, write_goals, write_manifest
    from eetool.export.parity import expected_samples
    from eetool.records import identity, write_directory
    from eetool.tune.operating_points import mean_costs
    from eetool.tune.refit import fit_bundle, merge_goals
    from eetool_runtime import load, open_bundle

    bundle = open_bundle(path)
    read = identity(path)
    name = variant or next(iter(bundle.manifest.variants))
    _keep(path, output, len(bundle.variant(name).operating_points) > 1, force)
    priced = prices(variant=name)
    given = replace(goals, costs=_cost_source(priced, device, name))
    goals = merge_goals(read_goals(bundle), given, _named_goals())
    progress = TerminalProgress()
    manifest, tuned = fit_bundle(bundle, name, source, goals, given, priced.costs if priced else None, progress)
    if priced and priced.settings is not None:
        manifest = replace(manifest, devices=_with_settings(manifest.devices, priced, name))
    with write_directory(output, _may_replace(path, output, read, force)) as folder:
        for relative in bundle.manifest.files:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.file(relative), folder / relative)
        write_goals(folder, replace(goals, calibration=tuned.calibration.method))
        write_manifest(folder, manifest)  # the samples need a model with the new temperatures
        exits = load(folder, variant=name).every_exit(bundle.arrays(manifest.samples))
        save_arrays(folder / manifest.variants[name].samples, expected_samples(manifest, name, exits))
        write_manifest(folder, replace(manifest, name=bundle_name(output)))
    return goals, tuned, (priced, mean_costs(tuned, priced.costs)) if priced else None


def _cost_source(priced: Any, device: str | None, variant: str) -> Any:
    """Return the source of the costs that thresholds minimise; None for MACs."""
    from eetool.latency.table.hw_profile import is_profile_file
    from eetool.model.goals import HW_PROFILE, HW_PROFILE_FILE, MEASUREMENT, CostSource

    if priced is None:
        return None
    predicted = HW_PROFILE_FILE if device is not None and is_profile_file(device) else HW_PROFILE
    return CostSource(priced.device, priced.unit, predicted if device is not None else MEASUREMENT, variant)


def _named_goals() -> set[str]:
    """Return the goals that the user gave on the command line, by the names of their options."""
    from eetool.tune.refit import OPTION_GOALS

    source = click.get_current_context().get_parameter_source
    return {name for name in OPTION_GOALS if source(name) is ParameterSource.COMMANDLINE}


def _with_settings(devices: Any, priced: Any, variant: str) -> dict[str, Any]:
    """What was measured on a device, beside what is known of it already."""
    from eetool_runtime.manifest import DeviceSettings

    machine, measured = priced.settings
    before = devices.get(priced.device)
    kept = before.variants if before is not None and before.machine == machine else {}
    return {**devices, priced.device: DeviceSettings(machine, {**kept, variant: measured})}


command = tune
