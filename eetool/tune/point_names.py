"""Names of operating points and their accuracy drops, by goals. No torch, so that a wrong name is told at once."""

from collections.abc import Mapping, Sequence

from eetool.errors import UsageError
from eetool.model.goals import TuningGoals
from eetool.names import quote
from eetool_runtime.manifest import OperatingPoint

FULL, BALANCED, FAST, CERTIFIED, BUDGET = "full", "balanced", "fast", "certified", "budget"
STREAM_FULL, STREAM_BALANCED, STREAM_FAST = "stream-full", "stream-balanced", "stream-fast"
# Share of the allowed accuracy drop that each point may use.
_SHARE_OF_DROP = {BALANCED: 0.5, FAST: 1.0}


def drop_limits(max_accuracy_drop: float, drops: Sequence[float] = ()) -> dict[str, float]:
    """Return the accuracy drop that each point may lose: `balanced`, `fast` and one `drop-…` for each of `drops`."""
    limits = {name: share * max_accuracy_drop for name, share in _SHARE_OF_DROP.items()}
    return {**limits, **{f"drop-{drop:g}": drop for drop in drops}}


def stream_drop_limits(max_accuracy_drop: float) -> dict[str, float]:
    """Return the accuracy drop that each point for streams may lose, against full depth with an answer per frame."""
    return {STREAM_BALANCED: _SHARE_OF_DROP[BALANCED] * max_accuracy_drop, STREAM_FAST: max_accuracy_drop}


def point_names(goals: TuningGoals) -> list[str]:
    """Return the names of the operating points that a fit of these goals has."""
    more = {BUDGET: goals.budget, CERTIFIED: goals.certify}
    limits = drop_limits(goals.max_accuracy_drop, goals.drops)
    return [FULL, *limits, *(name for name, goal in more.items() if goal is not None)]


def same_thresholds(points: Mapping[str, OperatingPoint]) -> list[tuple[str, ...]]:
    """Return the names of points with equal thresholds, `full` left out, of each group of two or more."""
    groups: dict[tuple[float | None, ...], list[str]] = {}
    for name, point in points.items():
        if name != FULL and any(threshold is not None for threshold in point.thresholds):
            groups.setdefault(point.thresholds, []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def check_point(name: str, known: Sequence[str]) -> None:
    """Raise UsageError where no operating point has this name."""
    if name not in known:
        raise UsageError(f"there is no operating point {quote(name)}", f"There are: {', '.join(known)}.")
