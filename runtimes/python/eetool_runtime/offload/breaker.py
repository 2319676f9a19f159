"""Circuit breaker: after failures in a row no request is sent until the server is known to be ready."""

from __future__ import annotations

import random
import threading

MAX_FAILURES = 3  # in a row
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0  # before a probe; doubled after each that fails
_SPREAD = 0.2  # of a wait, at random, so that devices do not return in step


class CircuitBreaker:
    """State of one link, for several threads.

    It opens after `MAX_FAILURES` failed requests in a row, or a failed probe. Only a probe, outside of calls, closes
    it. The wait before a probe doubles until a request succeeds: a server that is ready, but fails requests, is asked
    less and less often.

    Attributes:
        opened: set while the breaker is open.
        times_opened: number of times that it opened.
    """

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.times_opened = 0
        self._lock = threading.Lock()
        self._failures = 0
        self._wait_s = FIRST_WAIT_S
        self._is_shut = False

    @property
    def is_open(self) -> bool:
        """True where no request may be sent."""
        return self.opened.is_set()

    def request_succeeded(self) -> None:
        """Record a request that brought a usable reply."""
        if self._failures or self._wait_s != FIRST_WAIT_S:
            with self._lock:
                self._failures, self._wait_s = 0, FIRST_WAIT_S

    def request_failed(self) -> None:
        """Record a request that did not."""
        with self._lock:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._open()

    def probe_failed(self) -> None:
        """Record that the server is not ready."""
        with self._lock:
            self._open()

    def probe_succeeded(self) -> None:
        """Record that the server is ready: where requests were held back, they may be sent again."""
        with self._lock:
            if self.opened.is_set() and not self._is_shut:
                self._failures = 0
                self.opened.clear()

    def shut(self) -> None:
        """Open for good."""
        with self._lock:
            self._is_shut = True
            self.opened.set()

    def next_wait_s(self) -> float:
        """Return how long to wait before the next probe; the one after it is then twice as long."""
        with self._lock:
            wait_s = self._wait_s
            self._wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        return wait_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)

    def _open(self) -> None:
        if not self.opened.is_set():
            self.times_opened += 1
            self.opened.set()
