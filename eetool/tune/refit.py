"""Refit of a policy on another variant of its model, with the same goals and the same operating points by name."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from eetool.data.source import Source
from eetool.errors import EarlyExitError, MissingError, UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.table.hw_profile import is_profile_file
from eetool.model.checkpoint import Checkpoint
from eetool.model.goals import HW_PROFILE, OPTION_GOALS, CostSource, TuningGoals
from eetool.names import quote
from eetool.progress import SILENT, Progress
from eetool.tune.device_costs import predicted_costs
from eetool.tune.fit_policy import EarlierFit, tune_bundle
from eetool.tune.operating_points import TuningResult
from eetool.tune.point_names import BUDGET, CERTIFIED
from eetool_runtime import Bundle
from eetool_runtime.manifest import Manifest, OperatingPoint

# Maps a bundle, one of its variants and the source of the first variant's costs to the costs of that variant.
Price = Callable[[Path, str, CostSource], CascadeCosts]


def price_by_table(bundle: Path, variant: str, source: CostSource) -> CascadeCosts:
    """Return the costs of a variant from the hw profile that priced the first variant.

    Raises:
        MissingError: the costs were measured, or the hw profile has no figures of such a variant.
        ArtefactError: a graph cannot be read.
    """
    if source.origin != HW_PROFILE or is_profile_file(source.device):
        raise MissingError(f"the {source.unit} of {variant} on {source.device} was not measured")
    return predicted_costs(bundle, source.device, _refuse_export, variant, source.unit).costs


def _refuse_export(checkpoint: Checkpoint, name: str) -> AbstractContextManager[Bundle]:
    """Raise UsageError: a bundle needs no export to be priced."""
    raise UsageError(f"{name} is not a bundle")


def find_costs(
    bundle: Path, variant: str, goals: TuningGoals, price: Price = price_by_table
) -> tuple[CascadeCosts | None, str | None]:
    """Return the costs that thresholds of `variant` minimise, and the reason where they are not known.

    Without costs thresholds minimise MACs.
    """
    if goals.costs is None:
        return None, None
    try:
        return price(bundle, variant, goals.costs), None
    except EarlyExitError as error:
        return None, error.message


def refit_variant(
    bundle: Bundle,
    variant: str,
    source: Source,
    goals: TuningGoals,
    earlier: Mapping[str, OperatingPoint],
    price: Price = price_by_table,
    required: frozenset[str] = frozenset(),
    progress: Progress = SILENT,
) -> tuple[Manifest, TuningResult]:
    """Return the manifest of `bundle` with the goals fitted on one more of its variants.

    Args:
        bundle: an opened bundle.
        variant: one of its variants.
        source: the data that the bundle records.
        goals: goals of the first variant.
        earlier: operating points of the first variant; the variant gets all of their names.
        price: costs of a variant on the device of the goals.
        required: points whose goals must be kept; other goals may become warnings.
        progress: observer.

    Raises:
        ArtefactError: the bundle records other data.
        BudgetError: a required goal cannot be kept.
        UsageError: the calibration method is not that of the graphs.
    """
    costs, reason = find_costs(bundle.path, variant, goals, price)
    fit = EarlierFit(earlier, reason, required)
    manifest, tuned = tune_bundle(bundle, variant, source, goals, costs, progress, fit)
    if reason is not None:
        tuned = replace(tuned, warnings=(f"thresholds minimise MACs: {reason}", *tuned.warnings))
    return manifest, tuned


def fit_bundle(
    bundle: Bundle,
    variant: str,
    source: Source,
    goals: TuningGoals,
    given: TuningGoals,
    costs: CascadeCosts | None = None,
    progress: Progress = SILENT,
) -> tuple[Manifest, TuningResult]:
    """Return the manifest of `bundle` with goals of a user fitted on one of its variants.

    A budget or a certificate that the user gave must be kept. One that the bundle records may become a warning.

    Args:
        bundle: an opened bundle.
        variant: one of its variants.
        source: the data that the bundle records.
        goals: goals of the fit, see `merge_goals`.
        given: goals that the user gave.
        costs: costs of the variant's components, where the user gave a device or a profile.
        progress: observer.

    Raises:
        ArtefactError, BudgetError, UsageError: see `refit_variant`.
    """
    price = price_by_table if costs is None else lambda *_: costs
    named = {BUDGET: given.budget, CERTIFIED: given.certify}
    required = frozenset(name for name, goal in named.items() if goal is not None)
    points = earlier_points(bundle.manifest, variant)
    manifest, tuned = refit_variant(bundle, variant, source, goals, points, price, required, progress)
    return manifest, replace(tuned, warnings=(*tuned.warnings, *_missing_points(manifest, tuned)))


def keep_default(manifest: Manifest, tuned: TuningResult, name: str) -> tuple[Manifest, TuningResult, str | None]:
    """Return manifest and result with the default that the user chose at an earlier fit, and its name.

    Where a variant no longer has that point, the chosen default is that of the fit, with a warning, and no name.
    """
    try:
        return with_default(manifest, name), replace(tuned, default=name, keeps_default=True), name
    except UsageError as error:
        line = f"the earlier --default {name} is not kept: {error.message}; the default is {tuned.default}"
        return manifest, replace(tuned, warnings=(*tuned.warnings, line)), None


def _missing_points(manifest: Manifest, tuned: TuningResult) -> list[str]:
    """Return one warning for each variant without some of the operating points that were fitted."""
    warnings = []
    for variant, fitted in manifest.variants.items():
        names = [name for name in tuned.operating_points if name not in fitted.operating_points]
        if names:
            warnings.append(f"{variant} has no operating point {', '.join(names)}: tune it with --variant {variant}")
    return warnings


def with_default(manifest: Manifest, name: str) -> Manifest:
    """Return `manifest` with another default operating point.

    Raises:
        UsageError: a variant has no such point.
    """
    for variant, fitted in manifest.variants.items():
        if name not in fitted.operating_points:
            raise UsageError(
                f"{variant} has no operating point {quote(name)}, so it cannot be the default",
                f"It has: {', '.join(fitted.operating_points)}. Tune it first: --variant {variant}.",
            )
    return replace(manifest, default_operating_point=name)


def earlier_points(manifest: Manifest, variant: str) -> Mapping[str, OperatingPoint]:
    """Return the operating points that a refit of `variant` keeps by name: all names of all variants.

    Figures are those of another variant where it has them, else the variant's own.
    """
    points: dict[str, OperatingPoint] = {}
    others = [fitted for name, fitted in manifest.variants.items() if name != variant]
    for fitted in (*others, manifest.variants[variant]):
        for name, point in fitted.operating_points.items():
            if name not in points or points[name].expected is None:
                points[name] = point
    return points


def merge_goals(recorded: TuningGoals | None, given: TuningGoals, named: Collection[str]) -> TuningGoals:
    """Return the goals of a bundle's next fit: those that the user names, else those that the bundle records.

    Drops are added to the recorded ones, so that no operating point gets lost. Costs and budget go together.

    Args:
        recorded: goals of the bundle; null where it records none.
        given: goals with the user's values, and defaults elsewhere.
        named: fields of `given` that the user named.
    """
    if recorded is None:
        return given
    kept = {field: getattr(recorded, field) for field in OPTION_GOALS}
    if given.default is None:
        kept["default"] = recorded.default
    goals = replace(given, **{field: value for field, value in kept.items() if field not in named})
    if given.budget is None and given.costs is None:
        goals = replace(goals, budget=recorded.budget, costs=recorded.costs)
    elif given.budget is None and _same_costs(given.costs, recorded.costs):
        goals = replace(goals, budget=recorded.budget)
    return replace(goals, drops=tuple(dict.fromkeys((*recorded.drops, *given.drops))))


def _same_costs(a: CostSource | None, b: CostSource | None) -> bool:
    return a is not None and b is not None and (a.device, a.unit) == (b.device, b.unit)
