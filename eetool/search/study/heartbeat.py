"""Heartbeats of running trials: sent by the worker that evaluates, watched by the others."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from eetool.search.study.storage import Storage

_ATTRIBUTE = "beat"
_LONGEST_CHECK_SECONDS = 1.0


@contextmanager
def send_heartbeats(storage: Storage, trial_id: int) -> Iterator[None]:
    """Send heartbeats of a trial while the block runs; one that is lost with the storage does not end the work."""
    ended = threading.Event()

    def send() -> None:
        for count in itertools.count():
            with suppress(Exception):
                storage.database.set_trial_user_attr(trial_id, _ATTRIBUTE, count)
            if ended.wait(storage.heartbeat.interval_seconds):
                return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class HeartbeatMonitor:
    """Finds running trials whose heartbeats have stopped.

    It compares successive heartbeats, so the clocks of two machines need not agree. Time in which this process itself
    did not run does not count as silence.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._last_check = time.monotonic()
        self._silence: dict[int, tuple[int | None, float]] = {}  # trial: its last heartbeat, seconds without another

    def silent(self, running: Sequence[Any]) -> list[Any]:
        """Return the trials without a heartbeat for longer than the timeout."""
        now = time.monotonic()
        elapsed, self._last_check = min(now - self._last_check, _LONGEST_CHECK_SECONDS), now
        silent = []
        for trial in running:
            beat = trial.user_attrs.get(_ATTRIBUTE)
            last, seconds = self._silence.get(trial.number, (None, 0.0))
            if trial.number not in self._silence or last != beat:
                self._silence[trial.number] = (beat, 0.0)
            elif seconds + elapsed <= self._timeout_seconds:
                self._silence[trial.number] = (last, seconds + elapsed)
            else:
                silent.append(trial)
        return silent
