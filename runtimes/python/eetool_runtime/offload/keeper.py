"""Background thread that connects to a server, and asks whether it is ready, outside of calls."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import Callable, Optional

from .breaker import CircuitBreaker
from .client import InferenceClient
from .errors import BUSY, CLIENT_ERROR, UNREACHABLE, OffloadError, ServerRefused

PROBE_TIMEOUT_S = 5.0
_LOGGER = logging.getLogger("eetool_runtime")


class LinkKeeper:
    """Thread that makes the first connection, and probes the server while the breaker is open.

    It ends with `stop`, which a model calls when it is closed or no longer referenced. It has no reference to the
    model. A forked child has no such thread; its model refuses to be used.

    Attributes:
        last_problem: why the server was not ready when it was asked last, or None.
        probes: number of times that it was asked.
    """

    def __init__(self, client: InferenceClient, model: str, breaker: CircuitBreaker) -> None:
        self.last_problem: Optional[OffloadError] = None
        self.probes = 0
        self._client, self._model, self._breaker = client, model, breaker
        self._process = os.getpid()
        self._jobs: deque[Callable[[], object]] = deque()
        self._wake = threading.Condition()
        self._probing = threading.RLock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="eetool-offload", daemon=True)

    def start(self) -> None:
        """Connect, and keep the link from now on."""
        self._thread.start()

    def request_failed(self) -> None:
        """Record a failed request; where the breaker opens, the thread begins to probe."""
        with self._wake:
            self._breaker.request_failed()
            self._wake.notify()

    def do(self, job: Callable[[], object]) -> None:
        """Run a job in the thread, such as the loading of components."""
        with self._wake:
            self._jobs.append(job)
            self._wake.notify()

    def stop(self) -> None:
        """End the thread, and close the client. In a forked child, which has neither, nothing happens."""
        if os.getpid() != self._process:
            return
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._breaker.shut()
        self._client.close()

    @property
    def is_running(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def check(self, timeout_s: float) -> None:
        """Ask whether the server is ready, now and in the calling thread.

        Raises:
            OffloadError: it is not.
        """
        with self._probing:
            if self._stopped:
                raise ServerRefused(UNREACHABLE, "the connection to the server was closed")
            self.probes += 1
            try:
                if not self._client.ready(self._model, timeout_s):
                    raise ServerRefused(BUSY, f"the server is there, but its model {self._model!r} is not ready")
            except OffloadError as error:
                self._not_ready(error)
                raise
            self.last_problem = None
            self._breaker.probe_succeeded()

    def _run(self) -> None:
        with self._probing:
            if not self.probes:  # `check` may have been first
                self._probe()
        while True:
            with self._wake:
                while not (self._stopped or self._jobs or self._breaker.is_open):
                    self._wake.wait()
                if self._stopped:
                    return
                job = self._jobs.popleft() if self._jobs else None
                if job is None and self._wait_for_probe():
                    continue
            if job is not None:
                _run_job(job)
            else:
                self._probe()

    def _wait_for_probe(self) -> bool:
        """Wait until the next probe is due; return True where something else comes first. The caller has the lock."""
        self._wake.wait_for(lambda: self._stopped or self._jobs, self._breaker.next_wait_s())
        return self._stopped or bool(self._jobs)

    def _probe(self) -> None:
        try:
            self.check(PROBE_TIMEOUT_S)
        except OffloadError:
            pass  # kept in last_problem
        except Exception as error:  # a client is code of several libraries; the thread has to live on
            self._not_ready(ServerRefused(CLIENT_ERROR, f"the client failed: {type(error).__name__}"))

    def _not_ready(self, problem: OffloadError) -> None:
        self.last_problem = problem
        with self._wake:
            self._breaker.probe_failed()
            self._wake.notify()


def _run_job(job: Callable[[], object]) -> None:
    try:
        job()
    except Exception as error:  # a call that needs what the job makes raises it again
        _LOGGER.warning("in the background: %s", error)
