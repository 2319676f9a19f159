"""Runtime statistics of a model at one operating point: exits, depth, compute, latency and confidence drift."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from .manifest import Expected, ReachedConfidence

_MAX_LATENCIES = 10_000  # calls whose latencies are kept
_MAX_CALLS = 1_000  # calls whose confidences are kept
_COUNT_AT = 500  # calls to collect before they are counted
_MIN_FOR_TEST = 30  # with fewer values, their mean is not close to a normal distribution

# Exit, confidence, MACs, latency_ms, (exit, confidence) at the gates reached, gated, deadline overrun.
_Call = tuple[int, float, int, float, Sequence[tuple[int, float]], bool, bool]


class Stats:
    """Thread-safe counters of one model at one operating point.

    Counts cover all calls since loading. Latencies and confidences cover the last calls since this point was selected.
    """

    def __init__(self, n_exits: int) -> None:
        self._lock = threading.Lock()
        self._new: deque[_Call] = deque()  # recorded, but not counted yet
        self._exits = [0] * n_exits
        self._macs = 0
        self._total_ms = 0.0
        self._ungated = 0
        self._overruns = 0
        self._latency_ms: deque[float] = deque(maxlen=_MAX_LATENCIES)
        self._window: deque[_Call] = deque(maxlen=_MAX_CALLS)

    def record(
        self,
        exit_index: int,
        confidence: float,
        macs: int,
        latency_ms: float,
        seen: Sequence[tuple[int, float]] = (),
        gated: bool = True,
        overrun: bool = False,
    ) -> None:
        """Record one call.

        Args:
            exit_index: where the input left.
            confidence: at that exit.
            macs: of all components that ran.
            latency_ms: of the call.
            seen: (exit, confidence) of the gates that the thresholds alone let the input reach.
            gated: False where a deadline ended the call.
            overrun: True where the call took longer than its deadline.
        """
        # `append` is atomic and much cheaper than counting, which is done for many calls at once.
        self._new.append((exit_index, confidence, macs, latency_ms, seen, gated, overrun))
        if len(self._new) >= _COUNT_AT:
            with self._lock:
                self._count()

    def _count(self) -> None:
        """Count the recorded calls; the caller holds the lock."""
        for _ in range(len(self._new)):
            call = self._new.popleft()
            exit_index, _, macs, latency_ms, _, gated, overrun = call
            self._exits[exit_index] += 1
            self._macs += macs
            self._total_ms += latency_ms
            self._ungated += not gated
            self._overruns += overrun
            self._latency_ms.append(latency_ms)
            self._window.append(call)

    def start_window(self) -> None:
        """Clear latencies and confidences, and keep the counts; called when this point is selected again."""
        with self._lock:
            self._count()
            self._latency_ms.clear()
            self._window.clear()

    def recent_ms(self, calls: int) -> list[float]:
        """Return the latencies of at most the last `calls` calls since this point was selected."""
        with self._lock:
            self._count()
            return list(self._latency_ms)[-calls:]

    def snapshot(self, unsplit_macs: int, expected: Optional[Expected]) -> dict[str, Any]:
        """Return the figures of this operating point; shares, means and percentiles are None before the first call.

        `latency_ms` covers the last 10,000 calls. `mean_confidence`, of the inputs that left at each exit, and
        `drift` cover the last 1,000. `compute_saved` is 1 − mean MACs / MACs of the unsplit backbone.
        """
        with self._lock:
            self._count()
            counts, macs, total_ms = list(self._exits), self._macs, self._total_ms
            ungated, overruns = self._ungated, self._overruns
            latencies, window = np.array(self._latency_ms), list(self._window)
        calls = sum(counts)
        return {
            "calls": calls,
            "exit_counts": counts,
            "exit_shares": [c / calls for c in counts] if calls else None,
            "exit_shares_expected": list(expected.exit_shares) if expected else None,
            "mean_exit_depth": sum(i * c for i, c in enumerate(counts)) / calls if calls else None,
            "mean_confidence": _mean_confidence(window, len(counts)),
            "mean_macs": macs / calls if calls else None,
            "compute_saved": 1 - macs / calls / unsplit_macs if calls and unsplit_macs else None,
            "latency_ms": percentiles(latencies) if len(latencies) else None,
            "latency_ms_sum": total_ms,
            "ungated": ungated,
            "overruns": overruns,
            "drift": confidence_drift([call[4] for call in window], expected.reached) if expected else None,
        }


def confidence_drift(
    seen: Sequence[Sequence[tuple[int, float]]], expected: Sequence[Optional[ReachedConfidence]]
) -> list[Optional[dict[str, Any]]]:
    """Test at each exit whether the mean confidence differs from the recorded one (Welch's test).

    Args:
        seen: per call, (exit, confidence) of the gates that it reached.
        expected: per exit, the recorded confidence of the inputs that reach it.

    Returns:
        per exit `{n, mean, expected_mean, z, p}`, or None where fewer than 30 inputs reached it, the bundle has no
        figures, or neither side varies. `p` is two-sided and for one exit: with k exits, divide the level by k.
        The test assumes independent inputs; frames of one scene are not independent.
    """
    values: list[list[float]] = [[] for _ in expected]
    for call in seen:
        for exit_index, confidence in call:
            values[exit_index].append(confidence)
    return [_welch(np.array(v), r) if r is not None else None for v, r in zip(values, expected)]


def _welch(values: np.ndarray, recorded: ReachedConfidence) -> Optional[dict[str, Any]]:
    values = values[np.isfinite(values)]
    if len(values) < _MIN_FOR_TEST:
        return None
    mean, recorded_variance = float(values.mean()), recorded.confidence_std**2
    variance = float(values.var(ddof=1)) / len(values) + recorded_variance / recorded.n
    if variance == 0:
        return None
    z = (mean - recorded.confidence_mean) / math.sqrt(variance)
    p = math.erfc(abs(z) / math.sqrt(2))
    return {"n": len(values), "mean": mean, "expected_mean": recorded.confidence_mean, "z": z, "p": p}


def _mean_confidence(window: Sequence[_Call], n_exits: int) -> list[Optional[float]]:
    sums, counts = [0.0] * n_exits, [0] * n_exits
    for exit_index, confidence, *_ in window:
        if math.isfinite(confidence):  # a graph may return NaN, which JSON cannot represent
            sums[exit_index] += confidence
            counts[exit_index] += 1
    return [s / c if c else None for s, c in zip(sums, counts)]


def percentiles(values: np.ndarray, ranks: Sequence[int] = (50, 90, 99)) -> dict[str, float]:
    """Return `mean` and the percentiles `p50`, … of at least one value, by linear interpolation."""
    # np.percentile imports numpy.ma at its first call, and a child forked meanwhile could never import it.
    positions = np.array(ranks) / 100 * (len(values) - 1)
    found = np.interp(positions, np.arange(len(values)), np.sort(values))
    return {"mean": float(values.mean()), **{f"p{rank}": float(value) for rank, value in zip(ranks, found)}}
