"""Verdict on whether early exit pays, with its reasons as a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
_RESAMPLES = 4000
_BATCH = 200  # resamples in memory at once
# Accuracies are ratios of counts; equal ones may differ in the last bit.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Verdict:
    """Verdict on `point`, the ratio of its mean latency to that of the unsplit backbone, and the reasons as text."""

    pays: bool
    point: str
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class ContenderSummary:
    """Figures of a contender that the verdict uses; `accuracy` is in [0, 1]."""

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
    """Return the verdict on `point`.

    It pays where three conditions hold. The upper bound of its latency ratio to `unsplit` is below 1. Its accuracy is
    at most `max_accuracy_drop` percentage points lower. No network of `against` is both at least as accurate and at
    least as fast.
    """
    drop = 100 * (unsplit.accuracy - point.accuracy)
    reasons = [f"{net.name} is at least as accurate and at least as fast" for net in against if _dominates(net, point)]
    if drop > max_accuracy_drop + _ROUNDING:
        reasons.append(f"it loses {drop:.2f} percentage points of accuracy, where {max_accuracy_drop:g} are allowed")
    if ratio_ci95[1] >= 1:
        reasons.append(f"it is not significantly faster than unsplit, as the interval reaches {ratio_ci95[1]:.2f}")
    ratio = point.latency_ms / unsplit.latency_ms
    facts = (
        f"{point.name} takes {ratio:.2f} of the mean latency of unsplit "
        f"(95 % interval {ratio_ci95[0]:.2f} to {ratio_ci95[1]:.2f}) "
        f"at {100 * point.accuracy:.2f} % accuracy against {100 * unsplit.accuracy:.2f} %"
    )
    if reasons:
        text = f"Early exit does not pay: {'; '.join(reasons)}. Here {facts}."
    else:
        text = f"Early exit pays: {facts}.{_against_text(against)}"
    return Verdict(not reasons, point.name, ratio, ratio_ci95, text)


def ratio_interval(point_ms: np.ndarray, unsplit_ms: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of mean(point) / mean(unsplit), both (N,) for the same N inputs.

    The bootstrap is paired: an input is drawn for both or for neither, so effects of an input on both cancel.
    """
    if len(point_ms) == 1:  # nothing to resample
        ratio = float(point_ms[0] / unsplit_ms[0])
        return ratio, ratio
    interval = bootstrap(
        (point_ms, unsplit_ms),
        _ratio_of_means,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _ratio_of_means(point_ms: np.ndarray, unsplit_ms: np.ndarray, axis: int) -> np.ndarray:
    ratios: np.ndarray = point_ms.mean(axis) / unsplit_ms.mean(axis)
    return ratios


def _dominates(net: ContenderSummary, point: ContenderSummary) -> bool:
    return net.accuracy >= point.accuracy - _ROUNDING and net.latency_ms <= point.latency_ms


def _against_text(against: Sequence[ContenderSummary]) -> str:
    if not against:
        return ""
    if len(against) == 1:
        return f" {against[0].name} is not both as accurate and as fast."
    return f" None of {', '.join(net.name for net in against)} is both as accurate and as fast."
