"""Counting what a model did: exits, depth, compute and latency."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Optional

import numpy as np

from .manifest import Expected

_RECENT_CALLS = 10_000


class Stats:
    """Thread-safe counters of one model. `record` is on the hot path and does nothing but add."""

    def __init__(self, n_exits: int) -> None:
        self._lock = threading.Lock()
        self._exits = [0] * n_exits
        self._confidence = [0.0] * n_exits
        self._macs = 0
        self._latency_ms: deque[float] = deque(maxlen=_RECENT_CALLS)

    def record(self, exit_index: int, confidence: float, macs: int, latency_ms: float) -> None:
        """Count one call; `macs` are those of everything that ran."""
        with self._lock:
            self._exits[exit_index] += 1
            self._confidence[exit_index] += confidence
            self._macs += macs
            self._latency_ms.append(latency_ms)

    def snapshot(self, unsplit_macs: int, expected: Optional[Expected]) -> dict[str, Any]:
        """Figures since the model was loaded; shares, means and percentiles are null before the first call.

        `latency_ms` covers the last 10,000 calls. `compute_saved` is 1 − mean MACs / MACs of the unsplit backbone.
        `exit_shares_expected` are those of the operating point in use, on the split named in the bundle.
        """
        with self._lock:
            counts, confidence = list(self._exits), list(self._confidence)
            macs, latencies = self._macs, np.array(self._latency_ms)
        calls = sum(counts)
        return {
            "calls": calls,
            "exit_counts": counts,
            "exit_shares": [c / calls for c in counts] if calls else None,
            "exit_shares_expected": list(expected.exit_shares) if expected else None,
            "mean_exit_depth": sum(i * c for i, c in enumerate(counts)) / calls if calls else None,
            "mean_confidence": [s / c if c else None for s, c in zip(confidence, counts)],
            "mean_macs": macs / calls if calls else None,
            "compute_saved": 1 - macs / calls / unsplit_macs if calls and unsplit_macs else None,
            "latency_ms": _percentiles(latencies) if calls else None,
        }


def _percentiles(latencies: np.ndarray) -> dict[str, float]:
    p50, p90, p99 = np.percentile(latencies, (50, 90, 99))
    return {"mean": float(latencies.mean()), "p50": float(p50), "p90": float(p90), "p99": float(p99)}
