"""The setting of the knob, compiled: which components run, and where gates stand."""

from __future__ import annotations

from typing import NamedTuple, Optional

from .argument_checks import real, shown, whole
from .errors import UsageError
from .manifest import NEVER, Manifest
from .records import dataclass
from .stats import Stats

Thresholds = tuple[Optional[float], ...]
Band = tuple[float, float]
START = -1  # where a call begins, as an exit before exit 0


@dataclass(frozen=True)
class Gate:
    """After the component that makes `confidence`: leave at `exit_index` where it is at least `threshold`."""

    exit_index: int
    threshold: float
    logits: str
    confidence: str


class PlanStep(NamedTuple):
    """One component to run, by its place in the manifest, the gate behind it, and the MACs of all that has run by then.

    A tuple, as it is unpacked for every component of every call.
    """

    place: int
    gate: Optional[Gate]
    macs: int
    component: str


@dataclass(frozen=True)
class PlanSection:
    """The way from one gate to the next: `steps` run, then `gate` decides. MACs are those of the stretch alone."""

    after: int
    gate: Gate
    steps: tuple[PlanStep, ...]
    macs: int


class ExecutionPlan:
    """Thresholds in use, and what follows from them. Never changed once made, so that calls may share it."""

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
        self.watch = _checked(watch)
        self.stats = stats
        self._manifest = manifest
        self._ways: dict[tuple[int, bool], tuple[PlanSection, ...]] = {}
        self.steps = plan_steps(manifest, thresholds)

    def stretches(self, min_exit: int, anytime: bool) -> tuple[PlanSection, ...]:
        """The way through all gates from `min_exit` on.

        Args:
            min_exit: gates before this one do not stand; negative counts from the end, so -1 is full depth.
            anytime: every exit from there on is computed, even where its gate cannot fire.

        Raises:
            UsageError: there is no such exit.
        """
        n = len(self._manifest.exits)
        asked = whole(min_exit)
        if asked is None or not -n <= asked < n:
            raise UsageError(f"min_exit is {shown(min_exit)}; this model has the exits 0 to {n - 1}")
        first = asked % n
        key = (first, anytime)
        if key not in self._ways:
            floor = NEVER if anytime else None
            later = tuple(floor if t is None else t for t in self.thresholds[first:])
            self._ways[key] = _cut(plan_steps(self._manifest, (None,) * first + later))
        return self._ways[key]

    def rest(self, exit_index: int) -> PlanSection:
        """From behind `exit_index` to the final exit, with no head in between that is not needed."""
        components = self._manifest.components
        last = self.stretches(len(self._manifest.exits) - 1, anytime=False)[-1]
        place = [c.name for c in components].index(self._manifest.exits[exit_index].component)
        steps = tuple(step for step in last.steps if step.place > place)
        return PlanSection(exit_index, last.gate, steps, sum(components[step.place].macs for step in steps))


def _cut(steps: tuple[PlanStep, ...]) -> tuple[PlanSection, ...]:
    stretches, begun, paid, after = [], 0, 0, START
    for i, step in enumerate(steps):
        if step.gate is not None:
            stretches.append(PlanSection(after, step.gate, steps[begun : i + 1], step.macs - paid))
            begun, paid, after = i + 1, step.macs, step.gate.exit_index
    return tuple(stretches)


def _checked(watch: Optional[Band]) -> Optional[Band]:
    if watch is None:
        return None
    try:
        low, high = (real(bound) for bound in watch)
    except (TypeError, ValueError):
        low = high = None
    if low is None or high is None or not 0 <= low <= high <= 1:
        raise UsageError(f"watch is {shown(watch)}; a band (low, high) with 0 <= low <= high <= 1 is needed")
    return low, high


def plan_steps(manifest: Manifest, thresholds: tuple[Optional[float], ...]) -> tuple[PlanStep, ...]:
    """What to run under `thresholds` (one per early exit; None never fires).

    An exit whose threshold is None is skipped, unless something that does run reads what it makes. A number above 1
    does not fire either, but its exit is computed.

    Raises:
        UsageError: a threshold is missing, surplus or out of range.
    """
    if len(thresholds) != manifest.n_early_exits:
        raise UsageError(f"{len(thresholds)} thresholds given; the model has {manifest.n_early_exits} early exits")
    for t in thresholds:
        if t is not None and not _in_range(real(t)):
            raise UsageError(f"threshold {shown(t)} is out of range", "Confidences lie in [0, 1]; None never fires.")
    gates = {}
    for index, (e, t) in enumerate(zip(manifest.exits, (*thresholds, 0.0))):
        if t is not None:
            gates[e.component] = Gate(index, float(t), e.logits, e.confidence)
    needed = _needed(manifest, set(gates))
    steps, macs = [], 0
    for place, c in enumerate(manifest.components):
        if c.name in needed:
            macs += c.macs
            steps.append(PlanStep(place, gates.get(c.name), macs, c.name))
    return tuple(steps)


def _in_range(threshold: Optional[float]) -> bool:
    return threshold is not None and 0.0 <= threshold <= NEVER  # NaN fails this test too


def unsplit_macs(manifest: Manifest) -> int:
    """MACs of the backbone without early exits; where the manifest does not say, of full depth without gates."""
    if manifest.unsplit_macs is not None:
        return manifest.unsplit_macs
    return plan_steps(manifest, (None,) * manifest.n_early_exits)[-1].macs


def _needed(manifest: Manifest, gated: set[str]) -> set[str]:
    """Names of the components that a gate stands on, directly or through the tensors it reads."""
    needed: set[str] = set()
    tensors: set[str] = set()
    for c in reversed(manifest.components):
        if c.name in gated or tensors.intersection(c.outputs):
            needed.add(c.name)
            tensors.update(c.inputs)
    return needed
