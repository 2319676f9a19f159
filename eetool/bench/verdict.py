"""Does early exit pay? The rule of the verdict, and the sentence that says why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
_RESAMPLES = 4000
_CHUNK = 200
# Accuracies are ratios of counts; two that should be equal may differ in the last bit.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Verdict:
    """Whether `point` pays, its mean latency over that of the unsplit backbone, and why in words."""

    pays: bool
    point: str
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class ContenderSummary:
    """What the verdict needs to know of a contender; `accuracy` lies in [0, 1]."""

    name: str
    accuracy: float
    latency_ms: float


def decide_verdict(
    point: ContenderSummary,
    unsplit: ContenderSummary,
    against: Sequence[ContenderSummary],
    ratio_ci95: tuple[float, float],
    max_accuracy_drop: float,
) -> Verdict:
    """The verdict on `point`.

    It pays where the upper bound of its latency ratio to `unsplit` is below 1, its accuracy is at most
    `max_accuracy_drop` percentage points lower, and no net of `against` is both at least as accurate and at least as
    fast.
    """
    drop = 100 * (unsplit.accuracy - point.accuracy)
    reasons = [f"{net.name} is at least as accurate and at least as fast" for net in against if _beats(net, point)]
    if drop > max_accuracy_drop + _ROUNDING:
        reasons.append(f"it loses {drop:.2f} percentage points of accuracy, where {max_accuracy_drop:g} are allowed")
    if ratio_ci95[1] >= 1:
        reasons.append(f"it is not surely faster than unsplit, for the interval reaches {ratio_ci95[1]:.2f}")
    ratio = point.latency_ms / unsplit.latency_ms
    facts = (
        f"{point.name} takes {ratio:.2f} of the mean latency of unsplit "
        f"(95 % interval {ratio_ci95[0]:.2f} to {ratio_ci95[1]:.2f}) "
        f"at {100 * point.accuracy:.2f} % accuracy against {100 * unsplit.accuracy:.2f} %"
    )
    if reasons:
        text = f"Early exit does not pay: {'; '.join(reasons)}. Here {facts}."
    else:
        text = f"Early exit pays: {facts}.{_and_against(against)}"
    return Verdict(not reasons, point.name, ratio, ratio_ci95, text)


def ratio_interval(point_ms: np.ndarray, unsplit_ms: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of mean(point) / mean(unsplit), from resampling images; both are (N,) for the same N images.

    Paired: an image that is drawn is drawn for both, so what makes an image slow for both cancels.
    """
    n = len(point_ms)
    draw = np.random.default_rng(seed)
    ratios = []
    for _ in range(_RESAMPLES // _CHUNK):
        counts = draw.multinomial(n, np.full(n, 1 / n), size=_CHUNK)  # (chunk, N)
        ratios.append((counts @ point_ms) / (counts @ unsplit_ms))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(ratios), (tail, 100 - tail))
    return float(low), float(high)


def _beats(net: ContenderSummary, point: ContenderSummary) -> bool:
    return net.accuracy >= point.accuracy - _ROUNDING and net.latency_ms <= point.latency_ms


def _and_against(against: Sequence[ContenderSummary]) -> str:
    if not against:
        return ""
    if len(against) == 1:
        return f" {against[0].name} is not both as accurate and as fast."
    return f" None of {', '.join(net.name for net in against)} is both as accurate and as fast."
