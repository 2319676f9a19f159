"""Counters of a link, and the latencies of its requests."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any, Optional

import numpy as np

from ..deadline import RecentLatencies
from ..stats import percentiles
from .errors import KINDS, TIMEOUT

OK, TIMED_OUT, REFUSED, OPEN, SKIPPED = OUTCOMES = ("ok", "timeout", "refused", "open", "skipped")
_MAX_LATENCIES = 10_000


class LinkStats:
    """Thread-safe counters since loading; latencies cover the last 10,000 requests.

    `inputs` count inputs, of which one request of `Model.batch` carries many; `requests` count requests.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inputs: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._requests = self._sent = self._received = 0
        self._round_trips_ms: deque[float] = deque(maxlen=_MAX_LATENCIES)
        self._attempts_ms: deque[float] = deque(maxlen=_MAX_LATENCIES)
        self._recent = RecentLatencies()

    def skip(self, outcome: str, inputs: int) -> None:
        """Count inputs that were not sent: `open` or `skipped`."""
        with self._lock:
            self._inputs[outcome] += inputs

    def succeed(self, inputs: int, latency_ms: float, sent: int, received: int) -> None:
        """Count a request with a usable reply."""
        with self._lock:
            self._requests += 1
            self._inputs[OK] += inputs
            self._sent += sent
            self._received += received
            self._round_trips_ms.append(latency_ms)
            self._add_attempt(latency_ms)

    def fail(self, inputs: int, latency_ms: float, kind: str) -> str:
        """Count a request without one, and return its outcome."""
        outcome = TIMED_OUT if kind == TIMEOUT else REFUSED
        with self._lock:
            self._requests += 1
            self._inputs[outcome] += inputs
            self._failures[kind] += 1
            if outcome == TIMED_OUT:  # one that is refused says nothing of how long a reply takes
                self._add_attempt(latency_ms)
        return outcome

    def _add_attempt(self, latency_ms: float) -> None:
        self._attempts_ms.append(latency_ms)
        self._recent.add(round(latency_ms * 1e6))

    def fits(self, left_ns: int, unknown_ns: int) -> bool:
        """Return whether a reply is expected within `left_ns`; `unknown_ns` is assumed before 8 requests."""
        with self._lock:
            return unknown_ns <= left_ns if self._recent.estimate_ns is None else self._recent.fits(left_ns)

    def recent_ms(self, requests: int) -> list[float]:
        """Return the durations of at most the last `requests` requests that were answered or timed out."""
        with self._lock:
            return list(self._attempts_ms)[-requests:]

    def snapshot(self, calls: int) -> dict[str, Any]:
        """Return the figures as plain JSON; `calls` is the number of all inputs, for the share."""
        with self._lock:
            inputs = {outcome: self._inputs[outcome] for outcome in OUTCOMES}
            failures = {kind: self._failures[kind] for kind in KINDS if self._failures[kind]}
            requests, sent, received = self._requests, self._sent, self._received
            round_trips = np.array(self._round_trips_ms)
        share: Optional[float] = inputs[OK] / calls if calls else None
        return {
            "share": share,
            "inputs": inputs,
            "requests": requests,
            "failures": failures,
            "bytes_sent": sent,
            "bytes_received": received,
            "round_trip_ms": percentiles(round_trips, (50, 95, 99)) if len(round_trips) else None,
        }
