"""Rows of the comparison: accuracy, latency and costs of one contender."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.contenders import Contender, ContenderPrediction
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.metrics import expected_calibration_error


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds over the inputs; the latency of an input is the median of its passes."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class BenchRow:
    """Figures of one contender on `n` inputs.

    Attributes:
        agreement: share of the inputs with the same prediction as the unsplit backbone, right or wrong.
        exit_shares: share of the inputs that left at each exit; like `mean_exit_depth` null for static networks.
        mean_macs: of everything that ran; null where they are not known.
        compute_saved: 1 − mean MACs / MACs of the unsplit backbone.
        ece: expected calibration error, 15 bins.
        exits_by_class: inputs of each class that left at each exit, (classes, exits); null for static networks.
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
    """A contender with its predictions on N inputs, and its `times_ms` (passes, N)."""

    contender: Contender
    predictions: Sequence[ContenderPrediction]
    times_ms: np.ndarray

    @property
    def latency_ms(self) -> np.ndarray:
        """Latency of each input, (N,): the median of its passes."""
        return np.asarray(np.median(self.times_ms, axis=0))

    @property
    def classes(self) -> np.ndarray:
        """Most probable class of each prediction, int64 (N,)."""
        return np.array([int(p.probabilities.argmax()) for p in self.predictions], np.int64)

    @property
    def mean_macs(self) -> float | None:
        """Mean over the predictions; None where the contender's MACs are not known."""
        macs = self.contender.macs
        return None if macs is None else float(np.mean([macs[p.exit] for p in self.predictions]))


def make_row(run: ContenderRun, unsplit: ContenderRun, labels: np.ndarray, n_exits: int) -> BenchRow:
    """Return figures of `run`, with `labels` int64 (N,) and the predictions of `unsplit` as references."""
    right = run.classes == labels
    confidence = np.array([float(p.probabilities.max()) for p in run.predictions])
    exits = [p.exit for p in run.predictions if p.exit is not None]
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
        compute_saved=_compute_saved(run.mean_macs, unsplit.mean_macs),
        ece=expected_calibration_error(confidence, right),
        exits_by_class=_exits_by_class(exits, labels, (len(run.predictions[0].probabilities), n_exits))
        if exits
        else None,
    )


def _compute_saved(mean_macs: float | None, unsplit_macs: float | None) -> float | None:
    return 1 - mean_macs / unsplit_macs if mean_macs is not None and unsplit_macs else None


def _exits_by_class(exits: Sequence[int], labels: np.ndarray, shape: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros(shape, np.int64)  # (classes, exits)
    np.add.at(counts, (labels, np.array(exits)), 1)
    return tuple(tuple(row) for row in counts.tolist())
