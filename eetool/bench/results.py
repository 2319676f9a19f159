"""One row of the comparison: what a contender answered, and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.contenders import Contender, ModelAnswer
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.metrics import expected_calibration_error


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds over the images; the time of an image is the median of its passes."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class BenchRow:
    """Figures of one contender on `n` images.

    Attributes:
        agreement: share of the images on which it says what the unsplit backbone says, right or wrong.
        exit_shares: share of the images that left at each exit; with `mean_exit_depth` null for static nets.
        mean_macs: of everything that ran; null where it is not known.
        compute_saved: 1 − mean MACs / MACs of the unsplit backbone.
        ece: expected calibration error, 15 bins.
        exits_by_class: images of each class that left at each exit, (classes, exits); null for static nets.
    """

    name: str
    accuracy: float
    agreement: float
    n: int
    latency_ms: LatencySummary
    energy_mj: Energy
    exit_shares: tuple[float, ...] | None
    mean_exit_depth: float | None
    mean_macs: float | None
    compute_saved: float | None
    ece: float
    exits_by_class: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class ContenderRun:
    """A contender with its answers to N images and the time of each, (N,) milliseconds."""

    contender: Contender
    outcomes: Sequence[ModelAnswer]
    latency_ms: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """int64 (N,): the most probable class of each answer."""
        return np.array([int(o.probabilities.argmax()) for o in self.outcomes], np.int64)

    @property
    def mean_macs(self) -> float | None:
        """Mean over the answers, or None where the contender's MACs are not known."""
        macs = self.contender.macs
        return None if macs is None else float(np.mean([macs[o.exit] for o in self.outcomes]))


def make_row(run: ContenderRun, unsplit: ContenderRun, labels: np.ndarray, n_exits: int) -> BenchRow:
    """Figures of `run` against the right `labels`, int64 (N,), and against what `unsplit` says."""
    right = run.classes == labels
    confidence = np.array([float(o.probabilities.max()) for o in run.outcomes])
    exits = [o.exit for o in run.outcomes if o.exit is not None]
    p50, p99 = (float(value) for value in np.percentile(run.latency_ms, (50, 99)))
    return BenchRow(
        name=run.contender.name,
        accuracy=float(right.mean()),
        agreement=float((run.classes == unsplit.classes).mean()),
        n=len(labels),
        latency_ms=LatencySummary(float(run.latency_ms.mean()), p50, p99),
        energy_mj=UNKNOWN,
        exit_shares=tuple((np.bincount(exits, minlength=n_exits) / len(exits)).tolist()) if exits else None,
        mean_exit_depth=float(np.mean(exits)) if exits else None,
        mean_macs=run.mean_macs,
        compute_saved=_saved(run.mean_macs, unsplit.mean_macs),
        ece=expected_calibration_error(confidence, right),
        exits_by_class=_by_class(exits, labels, (len(run.outcomes[0].probabilities), n_exits)) if exits else None,
    )


def _saved(mean_macs: float | None, unsplit_macs: float | None) -> float | None:
    return 1 - mean_macs / unsplit_macs if mean_macs is not None and unsplit_macs else None


def _by_class(exits: Sequence[int], labels: np.ndarray, shape: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros(shape, np.int64)  # (classes, exits)
    np.add.at(counts, (labels, np.array(exits)), 1)
    return tuple(tuple(row) for row in counts.tolist())
