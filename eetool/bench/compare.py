"""The comparison: every contender's answers and its time on the same images, and the document made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.bench.contenders import UNSPLIT, Contender, Outcome
from eetool.bench.race import race
from eetool.bench.verdict import Standing, Verdict, judge, ratio_interval
from eetool.profile.energy import UNKNOWN, Energy
from eetool.progress import SILENT, Progress
from eetool.tune.metrics import expected_calibration_error
from eetool_runtime.machine import Machine

SCHEMA = "bench/1"
PASSES, MIN_SECONDS, SEED = 7, 3.0, 0


@dataclass(frozen=True)
class PointLatency:
    """Milliseconds over the images; the time of an image is the median of its passes."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Point:
    """One row of the comparison.

    Attributes:
        agreement: share of the images on which it says what the unsplit backbone says, right or wrong.
        exit_shares: share of the images that left at each exit; with `mean_exit_depth` null for static nets.
        mean_macs: of everything that ran; null where it is not known.
        compute_saved: 1 − mean MACs / MACs of the unsplit backbone.
        ece: expected calibration error, 15 bins.
    """

    name: str
    accuracy: float
    agreement: float
    n: int
    latency_ms: PointLatency
    energy_mj: Energy
    exit_shares: tuple[float, ...] | None
    mean_exit_depth: float | None
    mean_macs: float | None
    compute_saved: float | None
    ece: float


@dataclass(frozen=True)
class DataUsed:
    """Which examples were answered: `sha256` is that of the split's sorted int64 little-endian indices."""

    source: str
    split: str
    n: int
    sha256: str


@dataclass(frozen=True)
class Bench:
    """The document `bench/1`."""

    points: tuple[Point, ...]
    verdict: Verdict
    bundle: str
    variant: str
    threads: int
    pool: str
    passes: int
    seed: int
    max_accuracy_drop: float
    data: DataUsed
    machine: Machine


@dataclass(frozen=True)
class Comparison:
    """Points in the order of the contenders, the verdict on one of them, and the passes that were timed."""

    points: tuple[Point, ...]
    verdict: Verdict
    passes: int


def compare(
    contenders: Sequence[Contender],
    labels: np.ndarray,
    judged: str,
    max_accuracy_drop: float,
    *,
    n_exits: int,
    passes: int = PASSES,
    min_seconds: float = MIN_SECONDS,
    seed: int = SEED,
    progress: Progress = SILENT,
) -> Comparison:
    """Let `contenders` (the first is the unsplit backbone) answer and race, and judge the one called `judged`.

    Args:
        labels: int64 (N,), the right classes of the N images that every contender holds.
        max_accuracy_drop: percentage points that `judged` may lose against the backbone.
        n_exits: exits of the cascades, the final one included.
    """
    outcomes = {c.name: _explain(c, len(labels)) for c in contenders}
    times_ns = race(contenders, len(labels), passes=passes, min_seconds=min_seconds, seed=seed, progress=progress)
    latency_ms = {name: np.median(rows, axis=0) / 1e6 for name, rows in times_ns.items()}  # (N,) each
    truth = _classes(outcomes[UNSPLIT])
    unsplit_macs = _mean_macs(contenders[0], outcomes[UNSPLIT])
    points = tuple(
        _point(c, outcomes[c.name], labels, truth, latency_ms[c.name], unsplit_macs, n_exits) for c in contenders
    )
    interval = ratio_interval(latency_ms[judged], latency_ms[UNSPLIT], seed)
    standings = {p.name: Standing(p.name, p.accuracy, p.latency_ms.mean) for p in points}
    against = [
        s for p, s in zip(points, standings.values(), strict=True) if p.exit_shares is None and p.name != UNSPLIT
    ]
    verdict = judge(standings[judged], standings[UNSPLIT], against, interval, max_accuracy_drop)
    return Comparison(points, verdict, len(times_ns[UNSPLIT]))


def _explain(contender: Contender, images: int) -> list[Outcome]:
    """Every answer, before the clock runs; it also warms the contender up."""
    contender.prepare()
    return [contender.explain(image) for image in range(images)]


def _point(
    contender: Contender,
    outcomes: Sequence[Outcome],
    labels: np.ndarray,
    unsplit_says: np.ndarray,
    latency_ms: np.ndarray,
    unsplit_macs: float | None,
    n_exits: int,
) -> Point:
    says = _classes(outcomes)
    confidence = np.array([float(o.probabilities.max()) for o in outcomes])
    exits = np.array([o.exit for o in outcomes if o.exit is not None], np.int64)
    p50, p99 = (float(value) for value in np.percentile(latency_ms, (50, 99)))
    mean_macs = _mean_macs(contender, outcomes)
    return Point(
        name=contender.name,
        accuracy=float((says == labels).mean()),
        agreement=float((says == unsplit_says).mean()),
        n=len(labels),
        latency_ms=PointLatency(float(latency_ms.mean()), p50, p99),
        energy_mj=UNKNOWN,
        exit_shares=tuple((np.bincount(exits, minlength=n_exits) / len(exits)).tolist()) if len(exits) else None,
        mean_exit_depth=float(exits.mean()) if len(exits) else None,
        mean_macs=mean_macs,
        compute_saved=1 - mean_macs / unsplit_macs if mean_macs is not None and unsplit_macs else None,
        ece=expected_calibration_error(confidence, says == labels),
    )


def _classes(outcomes: Sequence[Outcome]) -> np.ndarray:
    """int64 (N,): the most probable class of each answer."""
    return np.array([int(o.probabilities.argmax()) for o in outcomes], np.int64)


def _mean_macs(contender: Contender, outcomes: Sequence[Outcome]) -> float | None:
    if contender.macs is None:
        return None
    return float(np.mean([contender.macs[o.exit] for o in outcomes]))
