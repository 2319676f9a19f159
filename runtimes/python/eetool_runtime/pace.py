"""How long the way to the next exit takes: what an answer before a deadline is decided by."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Optional

from .policy import Stretch

_WINDOW = 100
_QUANTILE = 0.95
_ENOUGH = 8  # measurements of this very process, after which what the bundle says counts no more
_RENEW = 10  # sort the window after so many measurements, not after each
_MARGIN = 1.5  # on a median, or on a guess
_FADE = 0.998  # per call that an estimate stopped: half after 350, so that one hiccup does not stop a stretch for good


class Pace:
    """Nanoseconds per stretch, on the safe side.

    The 95th percentile of the last 100 times under a deadline. Before there are 8: the medians that the bundle
    recorded for this machine, or else the pace of the call so far by MACs, with a margin of one half.
    """

    def __init__(self, component_ms: Mapping[str, float]) -> None:
        self._component_ms = component_ms
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int], _Times] = {}

    def learn(self, stretch: Stretch, took_ns: int) -> None:
        """Note how long `stretch` took."""
        with self._lock:
            self._known.setdefault((stretch.after, stretch.gate.exit_index), _Times()).add(took_ns)

    def fits(self, stretch: Stretch, left_ns: int, spent_ns: int, spent_macs: int) -> bool:
        """Whether `stretch` is sure enough to be done in `left_ns`, in a call that has spent so much already."""
        with self._lock:
            known = self._known.get((stretch.after, stretch.gate.exit_index))
            if known is None or known.estimate_ns is None:
                return self._guess(stretch, spent_ns, spent_macs) <= left_ns
            if known.estimate_ns <= left_ns:
                return True
            known.estimate_ns *= _FADE
            return False

    def _guess(self, stretch: Stretch, spent_ns: int, spent_macs: int) -> float:
        if all(name in self._component_ms for name in stretch.components):
            return _MARGIN * 1e6 * sum(self._component_ms[name] for name in stretch.components)
        share = stretch.macs / spent_macs if spent_macs else 1.0
        return _MARGIN * spent_ns * share


class _Times:
    """The last times of one stretch."""

    def __init__(self) -> None:
        self.estimate_ns: Optional[float] = None
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._count = 0

    def add(self, took_ns: int) -> None:
        self._recent.append(took_ns)
        self._count += 1
        # Anew now and then, and at once where it proved too low.
        late = self.estimate_ns is not None and took_ns > self.estimate_ns
        if self._count >= _ENOUGH and (self.estimate_ns is None or late or self._count % _RENEW == 0):
            self.estimate_ns = float(sorted(self._recent)[int(_QUANTILE * (len(self._recent) - 1))])
