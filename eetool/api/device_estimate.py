"""Estimate of a model and its rivals on a device: opens their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eetool.progress import SILENT, Progress

if TYPE_CHECKING:
    from eetool.bench.device_accuracy import DataResults
    from eetool.bench.device_comparison import ComparisonRules, Estimate, MissingVariant
    from eetool.data.image_form import DataChoice
    from eetool.data.source import Source
    from eetool.latency.estimate.prediction_target import Model, PredictionTarget
    from eetool.latency.estimate.predictor import Predictor
    from eetool.latency.table.hw_profile import HwProfile
    from eetool.latency.table.table import Regression, TableEntry
    from eetool.model.checkpoint import Checkpoint
    from eetool.model.spec import ExpectedDrop
    from eetool.train.labelled_data import LabelledData
    from eetool_runtime.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class EstimateRequest:
    """Model, device and rivals of an estimate.

    Attributes:
        input: a bundle, checkpoint or ONNX file.
        device: a known device or a hw profile.
        variant: a variant of the bundle; `auto` is the first that the table covers.
        watts: power of the board, from which energy is estimated.
        named: factories that a checkpoint may be made of.
        against: bundles, checkpoints and ONNX files to compare with.
        data: source on which accuracies are measured.
        new_data: on all of its examples, none of which the model may have been made with.
        operating_point: the judged one.
        max_accuracy_drop: percentage points that it may lose.
        check_table: correct the table of this machine by a check of a few seconds first.
    """

    input: Path
    device: str
    variant: str
    threads: int
    watts: float | None
    named: tuple[str, ...]
    against: tuple[Path, ...] = ()
    data: str | DataChoice | Source | LabelledData | None = None
    new_data: bool = False
    operating_point: str | None = None
    max_accuracy_drop: float | None = None
    check_table: bool = False


def make_estimate(request: EstimateRequest, progress: Progress = SILENT) -> Estimate:
    """Return the estimate of `request.input` and its comparison with other networks."""
    from eetool.bench.device_comparison import (
        Estimate,
        check_input_shapes,
        compare_on_device,
        rival_warnings,
    )
    from eetool.errors import UsageError
    from eetool.latency.estimate.predictor import predict
    from eetool.latency.table.hw_profile import load_device

    if request.data is not None and any(path.suffix == ".pt" for path in (request.input, *request.against)):
        raise UsageError(
            "--data runs bundles and ONNX files, and a checkpoint is neither", "`eetool export` makes a bundle of it."
        )
    profile = load_device(request.device)
    with ExitStack() as files:
        model = _open(request, request.input, files)
        profile, checked = _at_present_speed(request, profile, model, progress)
        target, predictor = _on_device(request, profile, model, request.variant)
        prediction = predict(target, predictor)
        if prediction.reason is not None:
            return Estimate(**vars(prediction))
        rivals, warnings = [], [*checked, *prediction.warnings, *_tuning_warnings(model, profile, target.variant)]
        for path in request.against:
            rival, its_predictor = _on_device(request, profile, _open(request, path, files), "auto", target.variant)
            warnings += check_input_shapes(target, rival)
            if its_predictor.missing_precision is None:
                warnings += rival_warnings(rival, its_predictor)
            rivals.append((rival, its_predictor))
        comparison = None
        if target.layout is not None or rivals:
            results = _on_data(request, model, target.variant, progress)
            missing = _missing_variants(request, profile, model)
            drops = _recorded_drops(model, target.variant)
            comparison = compare_on_device(target, predictor, rivals, _rules(request, model), results, missing, drops)
    return Estimate(**{**vars(prediction), "warnings": tuple(warnings)}, comparison=comparison)


def _at_present_speed(
    request: EstimateRequest, profile: HwProfile, model: Model, progress: Progress
) -> tuple[HwProfile, tuple[str, ...]]:
    """Return the profile after a check of the conditions that the model is predicted for, with warnings."""
    from eetool.api.checked_device import at_present_speed

    if not request.check_table:
        return profile, ()
    _, predictor = _on_device(request, profile, model, request.variant)
    costs = predictor.kernel_costs
    return at_present_speed(request.device, profile, (costs.backend, costs.precision, costs.threads), progress)


def _open(request: EstimateRequest, path: Path, files: ExitStack) -> Model:
    from eetool.latency.estimate.prediction_target import open_target

    return files.enter_context(open_target(path, _export, request.named))


def _export(checkpoint: Checkpoint, name: str) -> AbstractContextManager[Bundle]:
    """Export a checkpoint that cannot be recorded. Only then is torch imported for the export."""
    from eetool.export.temporary_bundle import temporary_bundle

    return temporary_bundle(checkpoint, name)


def _on_device(
    request: EstimateRequest, profile: HwProfile, model: Model, variant: str, like: str | None = None
) -> tuple[PredictionTarget, Predictor]:
    """Return the kernels of a variant of `model` and the device for it.

    `auto` prefers the variant `like`, else the one that the model was tuned for on this device.
    """
    from dataclasses import replace

    from eetool.latency.estimate.prediction_target import predictable_variants, target_of_variant
    from eetool.latency.estimate.predictor import Predictor
    from eetool.latency.table.table import BACKENDS

    if variant == "auto":
        variants = predictable_variants(model)
        held = _held(profile)
        precisions = {precision for _, precision in held}
        tuned = _tuned_variant(model, profile)
        preferred = like or (tuned if tuned is not None and tuned.split("/")[1] in precisions else None)
        variant = min(
            variants,
            key=lambda v: (
                v != preferred,
                (BACKENDS[v.split("/")[0]], v.split("/")[1]) not in held,
                v.split("/")[1] not in precisions,
                variants.index(v),
            ),
        )
    backend, precision = BACKENDS.get(variant.split("/")[0], variant), variant.split("/")[-1]
    predictor = Predictor(profile, backend, precision, request.threads, request.watts)
    target = target_of_variant(model, variant, predictor.channel_block)
    return (replace(target, name=_file_name(model, target.name)) if like is not None else target), predictor


def _recorded_drops(model: Model, variant: str) -> Mapping[str, ExpectedDrop]:
    """Return the accuracy drops that tuning recorded, by operating point; empty for an ONNX file."""
    from eetool.export.expected_drops import read_drops
    from eetool_runtime.bundle import Bundle

    if isinstance(model, Bundle):
        return read_drops(model).get(variant, {})
    return getattr(model, "expected_drops", {})


def _tuned_variant(model: Model, profile: HwProfile) -> str | None:
    """Return the variant that the policy of a model was fitted for on this device; None for another device."""
    from eetool.export.bundle_files import read_goals
    from eetool_runtime.bundle import Bundle

    goals = read_goals(model) if isinstance(model, Bundle) else getattr(model, "goals", None)
    costs = goals.costs if goals is not None else None
    return costs.variant if costs is not None and costs.device == profile.name else None


def _held(profile: HwProfile) -> set[tuple[str, str]]:
    """Return the backends and precisions that the table of a device was measured with."""
    items: list[TableEntry | Regression] = [*profile.table, *profile.regressions]
    return {(item.backend, item.precision) for item in items}


def _tuning_warnings(model: Model, profile: HwProfile, variant: str) -> tuple[str, ...]:
    """Return a warning where the variant is not the one that the model was tuned for, or the table is of another."""
    from eetool.latency.estimate.prediction_target import predictable_variants
    from eetool.latency.table.table import BACKENDS

    tuned = _tuned_variant(model, profile)
    if tuned is None:
        return ()
    if tuned != variant:
        return (f"the model was tuned for {tuned} on {profile.name}; the figures of {variant} are not those of `tune`",)
    covered = [v for v in predictable_variants(model) if (BACKENDS[v.split("/")[0]], v.split("/")[1]) in _held(profile)]
    if not covered or variant in covered:
        return ()
    return (
        f"the model was tuned for {variant}, and {profile.name} has a table of {covered[0]} alone: "
        f"--variant {covered[0]} shows its figures",
    )


def _file_name(model: Model, name: str) -> str:
    from eetool_runtime.bundle import Bundle

    return model.path.name if isinstance(model, Bundle) else name


def _rules(request: EstimateRequest, model: Model) -> ComparisonRules:
    from eetool.bench.device_comparison import FULL, MAX_ACCURACY_DROP, ComparisonRules
    from eetool_runtime.bundle import Bundle

    judged, limit = request.operating_point, request.max_accuracy_drop
    if isinstance(model, Bundle):
        default = model.manifest.default_operating_point
        judged = judged or (default if default != FULL else None)
        limit = model.manifest.max_accuracy_drop if limit is None else limit
    return ComparisonRules(judged, MAX_ACCURACY_DROP if limit is None else limit)


def _on_data(request: EstimateRequest, model: Model, variant: str, progress: Progress) -> DataResults | None:
    """Return accuracies on the test split or new data; ONNX of the same precision represents TFLite."""
    if request.data is None:
        return None
    from eetool.api.arguments import as_source
    from eetool.api.judged_examples import judged_examples
    from eetool.bench.device_accuracy import measure_accuracies
    from eetool.data.image_form import DataChoice, model_form
    from eetool.data.registry import image_reader
    from eetool.errors import UsageError
    from eetool_runtime.bundle import Bundle

    if not isinstance(model, Bundle):
        raise UsageError("--data runs bundles", "Give the bundle, and an ONNX file as --against.")
    same = f"onnx/{variant.split('/')[1]}"
    chosen = same if same in model.manifest.variants else variant
    source = as_source(request.data, progress, model_form(model.manifest.inputs, str(model.path)))
    indices, _ = judged_examples(model, source, request.new_data, progress)
    reread = image_reader(request.data, progress) if isinstance(request.data, (str, DataChoice)) else None
    return measure_accuracies(model, chosen, source, indices, request.against, progress, reread)


def _missing_variants(request: EstimateRequest, profile: HwProfile, model: Model) -> Sequence[MissingVariant]:
    from eetool.bench.device_comparison import MissingVariant
    from eetool.latency.estimate.prediction_target import predictable_variants
    from eetool.latency.estimate.predictor import Predictor
    from eetool.latency.table.table import BACKENDS

    missing = []
    for variant in predictable_variants(model):
        backend, precision = BACKENDS[variant.split("/")[0]], variant.split("/")[1]
        reason = Predictor(profile, backend, precision, request.threads).missing_precision
        if reason is not None:
            missing.append(MissingVariant(variant, reason))
    return missing
