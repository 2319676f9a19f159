"""Moving average of probabilities, which the filter of streams is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.tune.stream_simulation import NEVER, StreamDecisions
from eetool_runtime.stream_filter import NO_EXIT

_WEIGHTS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.07, 0.05)
_THRESHOLDS = (None, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class AveragePolicy:
    """Exponential moving average: of each exit's probabilities and the average after the frame before.

    A frame leaves at the first exit with which the largest average reaches the threshold; the exit it leaves at is
    averaged.

    Attributes:
        weight: of the frame.
        thresholds: one per early exit; None never fires.
    """

    weight: float
    thresholds: tuple[float | None, ...]
    check_every: int = 0
    skip_distance: float | None = None


def average_policies(early: int) -> list[AveragePolicy]:
    """Return the policies that are tried: thresholds for the first exit and for the others."""
    pairs = dict.fromkeys((a, *(b,) * (early - 1)) for a in _THRESHOLDS for b in _THRESHOLDS) if early else {(): None}
    return [AveragePolicy(weight, thresholds) for weight in _WEIGHTS for thresholds in pairs]


def simulate_average(
    policies: Sequence[AveragePolicy], probabilities: np.ndarray, starts: np.ndarray, base_rates: np.ndarray
) -> StreamDecisions:
    """Return the decisions of every policy on every frame, as `stream_simulation.simulate` does.

    Args:
        policies: P policies.
        probabilities: float (N, exits, K), finite.
        starts: bool (N,), frames that begin a sequence, where the average is that of the frame alone.
        base_rates: not used.
    """
    n, exits, classes = probabilities.shape
    weight = np.array([p.weight for p in policies])[:, None]
    thresholds = np.array([[NEVER if t is None else t for t in p.thresholds] for p in policies])
    average = np.zeros((len(policies), classes))
    left, labels, raw = (np.full((len(policies), n), NO_EXIT, np.int32) for _ in range(3))
    for t in range(n):
        w = np.ones_like(weight) if starts[t] or t == 0 else weight
        running, before = np.ones(len(policies), bool), average
        for k in range(exits):
            updated = (1 - w) * before + w * probabilities[t, k]
            fires = running & (updated.max(1) >= thresholds[:, k] if k < exits - 1 else True)
            average = np.where(fires[:, None], updated, average)
            left[fires, t], raw[fires, t] = k, probabilities[t, k].argmax()
            running &= ~fires
            if not running.any():
                break
        labels[:, t] = average.argmax(1)
    return StreamDecisions(left, labels, raw, np.zeros((len(policies), n), bool), None)
