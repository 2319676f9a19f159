"""The policy in use: which components run, in which order, and where a gate stands."""

from __future__ import annotations

from numbers import Real
from typing import Any, Optional

from .errors import UsageError
from .frozen import dataclass
from .manifest import NEVER, Manifest


@dataclass(frozen=True)
class Gate:
    """After the component that makes `confidence`: leave at `exit_index` where it is at least `threshold`."""

    exit_index: int
    threshold: float
    logits: str
    confidence: str


@dataclass(frozen=True)
class Stage:
    """One component to run, the gate behind it if there is one, and the MACs of all that has run by then."""

    component: str
    gate: Optional[Gate]
    macs: int


def plan(manifest: Manifest, thresholds: tuple[Optional[float], ...]) -> tuple[Stage, ...]:
    """The stages to run under `thresholds` (one per early exit; None never fires).

    An exit whose threshold is None is skipped, unless something that does run reads what it makes. A number above 1
    does not fire either, but its exit is computed: so much for telling what a gate costs.

    Raises:
        UsageError: a threshold is missing, surplus or out of range.
    """
    if len(thresholds) != manifest.n_early_exits:
        raise UsageError(f"{len(thresholds)} thresholds given; the model has {manifest.n_early_exits} early exits")
    for t in thresholds:
        if t is not None and not _in_range(t):
            raise UsageError(f"threshold {t!r} is out of range", "Confidences lie in [0, 1]; None never fires.")
    gates = {}
    for index, (e, t) in enumerate(zip(manifest.exits, (*thresholds, 0.0))):
        if t is not None:
            gates[e.component] = Gate(index, float(t), e.logits, e.confidence)
    needed = _needed(manifest, set(gates))
    stages, macs = [], 0
    for c in manifest.components:
        if c.name in needed:
            macs += c.macs
            stages.append(Stage(c.name, gates.get(c.name), macs))
    return tuple(stages)


def _in_range(threshold: Any) -> bool:
    return isinstance(threshold, Real) and 0.0 <= float(threshold) <= NEVER  # NaN fails this test too


def unsplit_macs(manifest: Manifest) -> int:
    """MACs of the backbone without early exits; where the manifest does not say, of full depth without gates."""
    if manifest.unsplit_macs is not None:
        return manifest.unsplit_macs
    return plan(manifest, (None,) * manifest.n_early_exits)[-1].macs


def _needed(manifest: Manifest, gated: set[str]) -> set[str]:
    """Names of the components that a gate stands on, directly or through the tensors it reads."""
    needed: set[str] = set()
    tensors: set[str] = set()
    for c in reversed(manifest.components):
        if c.name in gated or tensors.intersection(c.outputs):
            needed.add(c.name)
            tensors.update(c.inputs)
    return needed
