"""Execution plans: the components that run under given thresholds, and the gates between them."""

from __future__ import annotations

from typing import NamedTuple, Optional, Union

from .argument_checks import as_float, as_int, short_repr
from .errors import UsageError
from .manifest import NEVER, Manifest, Variant
from .near_names import known_names
from .records import dataclass
from .stats import Stats

Thresholds = tuple[Optional[float], ...]
Band = tuple[float, float]
START = -1  # exit index before exit 0: the beginning of a call


@dataclass(frozen=True)
class Gate:
    """Decision to leave at `exit_index` where `confidence` is at least `threshold`."""

    exit_index: int
    threshold: float
    logits: str
    confidence: str


class PlanStep(NamedTuple):
    """One component to run. It is a tuple because every call unpacks it for every component.

    Attributes:
        position: of the component in the manifest.
        gate: evaluated after the component, or None.
        macs: total of all components up to this one.
        component: its name.
    """

    position: int
    gate: Optional[Gate]
    macs: int
    component: str


@dataclass(frozen=True)
class PlanSection:
    """The steps between two gates.

    Attributes:
        after: exit index of the previous gate, or START.
        gate: evaluated after the last step.
        steps: in order.
        macs: of these steps alone.
    """

    after: int
    gate: Gate
    steps: tuple[PlanStep, ...]
    macs: int


class ExecutionPlan:
    """Immutable plan for one set of thresholds, shared by concurrent calls."""

    def __init__(
        self,
        manifest: Manifest,
        thresholds: Thresholds,
        name: Optional[str],
        watch: Optional[Band],
        stats: Stats,
    ) -> None:
        self.thresholds = thresholds
        self.name = name
        self.watch = _check_band(watch)
        self.stats = stats
        self._manifest = manifest
        self._sections: dict[tuple[int, bool], tuple[PlanSection, ...]] = {}
        self.steps = plan_steps(manifest, thresholds)

    def sections(self, min_exit: int, anytime: bool) -> tuple[PlanSection, ...]:
        """Return the sections between all gates from `min_exit` on.

        Args:
            min_exit: first exit whose gate is evaluated; negative counts from the end, so -1 is full depth.
            anytime: compute every exit from `min_exit` on, even where its gate cannot fire.

        Raises:
            UsageError: the exit does not exist.
        """
        n = len(self._manifest.exits)
        index = as_int(min_exit)
        if index is None or not -n <= index < n:
            raise UsageError(f"min_exit is {short_repr(min_exit)}; this model has the exits 0 to {n - 1}")
        first = index % n
        key = (first, anytime)
        if key not in self._sections:
            floor = NEVER if anytime else None
            later = tuple(floor if t is None else t for t in self.thresholds[first:])
            self._sections[key] = _split_at_gates(plan_steps(self._manifest, (None,) * first + later))
        return self._sections[key]

    def remaining_section(self, exit_index: int) -> PlanSection:
        """Return the section from `exit_index` to the final exit, without the exits that are not needed."""
        components = self._manifest.components
        last = self.sections(len(self._manifest.exits) - 1, anytime=False)[-1]
        position = [c.name for c in components].index(self._manifest.exits[exit_index].component)
        steps = tuple(step for step in last.steps if step.position > position)
        return PlanSection(exit_index, last.gate, steps, sum(components[step.position].macs for step in steps))


def _split_at_gates(steps: tuple[PlanStep, ...]) -> tuple[PlanSection, ...]:
    sections, first, macs_before, after = [], 0, 0, START
    for i, step in enumerate(steps):
        if step.gate is not None:
            sections.append(PlanSection(after, step.gate, steps[first : i + 1], step.macs - macs_before))
            first, macs_before, after = i + 1, step.macs, step.gate.exit_index
    return tuple(sections)


def chosen_thresholds(
    manifest: Manifest, variant: Variant, operating_point: Optional[str], threshold: Union[float, Thresholds, None]
) -> Thresholds:
    """Return the thresholds of an operating point or of numbers, see `Model.use`; raises UsageError."""
    if (operating_point is None) == (threshold is None):
        raise UsageError("use() takes an operating point or a threshold")
    if operating_point is not None:
        points = variant.operating_points
        if not isinstance(operating_point, str) or operating_point not in points:
            hint = known_names(operating_point, points, "This bundle has")
            raise UsageError(f"unknown operating point {short_repr(operating_point)}", hint)
        return points[operating_point].thresholds
    if isinstance(threshold, (tuple, list)):
        return tuple(threshold)
    return (threshold,) * manifest.n_early_exits  # of another type: refused with the plan


def _check_band(watch: Optional[Band]) -> Optional[Band]:
    if watch is None:
        return None
    try:
        low, high = (as_float(bound) for bound in watch)
    except (TypeError, ValueError):
        low = high = None
    if low is None or high is None or not 0 <= low <= high <= 1:
        raise UsageError(f"watch is {short_repr(watch)}; a band (low, high) with 0 <= low <= high <= 1 is needed")
    return low, high


def plan_steps(manifest: Manifest, thresholds: tuple[Optional[float], ...]) -> tuple[PlanStep, ...]:
    """Return the components to run under `thresholds`, in order.

    An exit whose threshold is None is skipped, unless a component that runs reads its outputs. A threshold above 1
    never fires either, but its exit is computed.

    Args:
        manifest: of the bundle.
        thresholds: one per early exit; None never fires.

    Raises:
        UsageError: the number of thresholds is wrong, or a threshold is out of range.
    """
    if len(thresholds) != manifest.n_early_exits:
        raise UsageError(f"{len(thresholds)} thresholds given; the model has {manifest.n_early_exits} early exits")
    for t in thresholds:
        if t is not None and not _in_range(as_float(t)):
            raise UsageError(
                f"threshold {short_repr(t)} is out of range",
                f"Confidences lie in [0, 1]; above 1, to {NEVER:g}, and as None a gate never fires.",
            )
    gates = {}
    for index, (e, t) in enumerate(zip(manifest.exits, (*thresholds, 0.0))):
        if t is not None:
            gates[e.component] = Gate(index, float(t), e.logits, e.confidence)
    needed = _needed(manifest, set(gates))
    steps, macs = [], 0
    for position, c in enumerate(manifest.components):
        if c.name in needed:
            macs += c.macs
            steps.append(PlanStep(position, gates.get(c.name), macs, c.name))
    return tuple(steps)


def _in_range(threshold: Optional[float]) -> bool:
    return threshold is not None and 0.0 <= threshold <= NEVER  # NaN fails this test too


def unsplit_macs(manifest: Manifest) -> int:
    """Return the MACs of the backbone without early exits; of full depth without gates where unrecorded."""
    if manifest.unsplit_macs is not None:
        return manifest.unsplit_macs
    return plan_steps(manifest, (None,) * manifest.n_early_exits)[-1].macs


def _needed(manifest: Manifest, gated: set[str]) -> set[str]:
    """Return the names of the components that the gates depend on, directly or through their inputs."""
    needed: set[str] = set()
    tensors: set[str] = set()
    for c in reversed(manifest.components):
        if c.name in gated or tensors.intersection(c.outputs):
            needed.add(c.name)
            tensors.update(c.inputs)
    return needed
