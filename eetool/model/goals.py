"""Goals that a policy was fitted for. Checkpoints and bundles record them, so that every refit has the same points."""

import math
from dataclasses import dataclass

from eetool_runtime.manifest_checks import is_text

MACS, LATENCY, ENERGY = "macs", "latency_ms", "energy_mj"
HW_PROFILE, HW_PROFILE_FILE, MEASUREMENT = "hw_profile", "hw_profile_file", "measurement"
_UNITS = (MACS, LATENCY, ENERGY)
_ORIGINS = (HW_PROFILE, HW_PROFILE_FILE, MEASUREMENT)
OPTION_GOALS = (
    "max_accuracy_drop",
    "certify",
    "standard_errors",
    "calibration",
    "max_reaction_s",
)  # goals that are one option each
_CALIBRATIONS = (None, "temperature", "platt")  # see eetool.tune.calibration
DEFAULT_DROP = 1.0  # percentage points that `fast` may lose where nothing else is asked
_MAX_DROPS = 1000
_MAX_STANDARD_ERRORS = 10


@dataclass(frozen=True)
class Budget:
    """Largest mean cost of an input, in `unit`: `macs`, `latency_ms` or `energy_mj`."""

    unit: str
    most: float


@dataclass(frozen=True)
class CostSource:
    """Source of the costs that thresholds minimise in place of MACs.

    Attributes:
        device: name of the device.
        unit: `latency_ms` or `energy_mj`.
        origin: `hw_profile` for one that comes with eetool, `hw_profile_file` for another, or `measurement`.
        variant: variant whose costs these are, such as `onnx/fp32`.
    """

    device: str
    unit: str
    origin: str
    variant: str


@dataclass(frozen=True)
class TuningGoals:
    """Goals of a policy.

    Attributes:
        max_accuracy_drop: percentage points that `fast` may lose against full depth; `balanced` may lose half of it.
        certify: probability with which the drop of `certified` holds on new data; null for no such point.
        drops: percentage points that each of the points `drop-…` may lose.
        budget: largest mean cost of the point `budget`; null for no such point.
        calibration: `temperature` or `platt`; null for that of the model, if it was tuned before.
        standard_errors: margin of a drop below its limit, see `eetool.tune.margin_search`.
        costs: costs that thresholds minimise; null for MACs.
        default: operating point that the user made the default; null where tuning chooses it.
        max_reaction_s: seconds within which streams react to 95 % of the changes of the class; null without streams.
    """

    max_accuracy_drop: float
    certify: float | None = None
    drops: tuple[float, ...] = ()
    budget: Budget | None = None
    calibration: str | None = None
    standard_errors: float = 1.0
    costs: CostSource | None = None
    default: str | None = None
    max_reaction_s: float | None = None


def invalid_goal(goals: TuningGoals) -> str | None:
    """Return the reason why these goals, read from a file, are invalid, or None."""
    drops = (goals.max_accuracy_drop, *goals.drops)
    if len(drops) > _MAX_DROPS or not all(0 <= drop <= 100 for drop in drops):
        return "an accuracy drop among its goals does not lie in [0, 100]"
    if goals.certify is not None and not 0 < goals.certify < 1:
        return "the probability of its certificate does not lie in (0, 1)"
    if not 0 <= goals.standard_errors <= _MAX_STANDARD_ERRORS or goals.calibration not in _CALIBRATIONS:
        return "its goals name an unknown calibration, or a margin outside [0, 10] standard errors"
    if goals.default is not None and not is_text(goals.default):
        return "the name of its default operating point is invalid"
    if goals.max_reaction_s is not None and not 0 < goals.max_reaction_s < math.inf:
        return "the reaction time of its streams is not above 0"
    costs, budget = goals.costs, goals.budget
    if costs is not None and not _is_source(costs):
        return "the source of its costs is unknown"
    unit = costs.unit if costs is not None else MACS
    if budget is not None and (budget.unit != unit or not budget.most > 0):
        return "its budget is not positive, or not in the unit of its costs"
    return None


def _is_source(costs: CostSource) -> bool:
    known = costs.unit in _UNITS[1:] and costs.origin in _ORIGINS
    return known and is_text(costs.device) and is_text(costs.variant)


def fewest_examples(max_accuracy_drop: float) -> int | None:
    """Return how many examples a drop in percentage points takes at least, where none of them is lost; None for 0.

    One error is charged in advance (docs/decisions/0002).
    """
    return math.ceil(round(100 / max_accuracy_drop, 6)) - 1 if max_accuracy_drop else None
