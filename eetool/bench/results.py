"""Rows of the comparison: accuracy, latency and costs of one way to ship."""

from dataclasses import dataclass

import numpy as np

from eetool.bench.comparison import Comparison
from eetool.bench.predictions import WayPredictions
from eetool.bench.ways import WayLabel
from eetool.latency.estimate.energy import UNKNOWN, Energy
from eetool.metrics import expected_calibration_error


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds over the inputs; the latency of an input is the median of its passes."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class WayRow:
    """Figures of one way on `n` inputs; those against the reference are 1, 0 and their intervals for itself.

    Attributes:
        kind: `unsplit`, the bundle's network without exits; `early_exit`; or `against`, a network to compare with.
        variant: such as `onnx/int8`; null for a file outside of a bundle.
        operating_point: null for networks without early exits.
        front: whether it is on the front of latency and accuracy; null where the intervals leave it open.
        agreement: share of the inputs with the same prediction as the reference, right or wrong.
        latency_ratio: mean latency / that of the reference.
        accuracy_difference: accuracy less that of the reference, in percentage points.
        exit_shares: share of the inputs that left at each exit; like `mean_exit_depth` null for static networks.
        mean_macs: of everything that ran; null where they are not known.
        compute_saved: 1 − mean MACs / MACs of the reference.
        ece: expected calibration error, 15 bins.
        exits_by_class: inputs of each class that left at each exit, (classes, exits); null for static networks.
    """

    name: str
    kind: str
    variant: str | None
    operating_point: str | None
    front: bool | None
    accuracy: float
    agreement: float
    n: int
    latency_ms: LatencySummary
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    accuracy_difference: float
    accuracy_difference_ci95: tuple[float, ...]
    energy_mj: Energy
    exit_shares: tuple[float, ...] | None
    mean_exit_depth: float | None
    mean_macs: float | None
    compute_saved: float | None
    ece: float
    exits_by_class: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class WayRun:
    """A way with its predictions on N inputs, compared with the reference."""

    label: WayLabel
    predictions: WayPredictions
    pair: Comparison

    @property
    def mean_macs(self) -> float | None:
        """Mean over the predictions; None where the MACs of the way are not known."""
        macs = self.label.macs
        return None if macs is None else float(np.mean([macs[int(k)] for k in self.predictions.strata]))


def make_row(run: WayRun, reference: WayRun, front: bool | None, labels: np.ndarray, shape: tuple[int, int]) -> WayRow:
    """Return the figures of `run`.

    Args:
        run: of the way.
        reference: of the way that all are compared with.
        front: its mark.
        labels: int64 (N,).
        shape: numbers of classes and of exits.
    """
    predictions, pair, exits = run.predictions, run.pair, run.predictions.exits
    latency, right = pair.way.latency, pair.way.right
    return WayRow(
        name=run.label.name,
        kind=run.label.kind,
        variant=run.label.variant,
        operating_point=run.label.operating_point,
        front=front,
        accuracy=pair.way.accuracy,
        agreement=float((predictions.classes == reference.predictions.classes).mean()),
        n=len(labels),
        latency_ms=LatencySummary(latency.mean, latency.p50, latency.p99),
        latency_ratio=pair.ratio,
        latency_ratio_ci95=pair.ratio_ci95,
        accuracy_difference=pair.difference,
        accuracy_difference_ci95=pair.difference_ci95,
        energy_mj=UNKNOWN,
        exit_shares=None if exits is None else tuple((np.bincount(exits, minlength=shape[1]) / len(exits)).tolist()),
        mean_exit_depth=None if exits is None else float(exits.mean()),
        mean_macs=run.mean_macs,
        compute_saved=_compute_saved(run.mean_macs, reference.mean_macs),
        ece=expected_calibration_error(predictions.probability, right),
        exits_by_class=None if exits is None else _exits_by_class(exits, labels, shape),
    )


def _compute_saved(mean_macs: float | None, reference_macs: float | None) -> float | None:
    return 1 - mean_macs / reference_macs if mean_macs is not None and reference_macs else None


def _exits_by_class(exits: np.ndarray, labels: np.ndarray, shape: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros(shape, np.int64)  # (classes, exits)
    np.add.at(counts, (labels, exits), 1)
    return tuple(tuple(row) for row in counts.tolist())
