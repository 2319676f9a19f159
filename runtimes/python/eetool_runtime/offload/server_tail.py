"""What lies behind the cut, computed by a server: requests, checks of replies, and the state of the link."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import NamedTuple, Optional

import numpy as np

from ..manifest import Manifest
from ..manifest_offload import OffloadPolicy, OffloadSpec
from .breaker import CircuitBreaker
from .client import InferenceClient, InferReply, InferRequest
from .endpoint import Endpoint
from .errors import CLIENT_ERROR, NOT_FINITE, WRONG_MODEL, WRONG_SHAPE, OffloadError, ServerRefused
from .keeper import LinkKeeper
from .link_stats import OK, OPEN, SKIPPED, LinkStats
from .options import Offload
from .wire import encoders

_ROOM_BYTES = 1 << 14  # of a reply, beside its tensors
_ROOM_PER_OUTPUT_BYTES = 1 << 10
_LOGGER = logging.getLogger("eetool_runtime")

Answers = Mapping[int, tuple[np.ndarray, np.ndarray]]  # logits (rows, classes) and confidence (rows,) by exit


class Attempt(NamedTuple):
    """End of an attempt: its outcome, and the answers where it is `ok`."""

    outcome: str
    answers: Optional[Answers]


class ServerTail:
    """The server's part of a cascade, for several threads.

    Attributes:
        timeout_s: budget of an attempt.
        stats: counters.
        breaker: state of the link.
        keeper: thread that connects and probes.
    """

    def __init__(self, m: Manifest, policy: OffloadPolicy, offload: Offload, client: InferenceClient) -> None:
        """Connect nothing yet; `start` does."""
        assert m.offload is not None
        self.spec: OffloadSpec = m.offload
        self.timeout_s = offload.timeout_ms / 1e3
        self.stats, self.breaker = LinkStats(), CircuitBreaker()
        self.keeper = LinkKeeper(client, self.spec.model, self.breaker)
        self._client, self._endpoint, self._classes = client, offload.endpoint, len(m.labels)
        self._encoders = encoders(m, self.spec.inputs)
        self._scalars = _later_scalars(m, policy, self.spec.first_exit)
        self._outputs = [name for output in self.spec.outputs for name in (output.logits, output.confidence)]

    @property
    def sent_tensors(self) -> list[str]:
        """Names, in the bundle, of the tensors that travel."""
        return [i.tensor for i in self.spec.inputs]

    @property
    def endpoint(self) -> Endpoint:
        """Address of the server."""
        return self._endpoint

    def fits(self, left_ns: int) -> bool:
        """Return whether a reply is expected within `left_ns`; False while the breaker is open."""
        return not self.breaker.is_open and self.stats.fits(left_ns, round(self.timeout_s * 1e9))

    def skip(self, inputs: int) -> Attempt:
        """Count inputs that are not to be sent."""
        self.stats.skip(SKIPPED, inputs)
        return Attempt(SKIPPED, None)

    def pass_over(self, inputs: int) -> Attempt:
        """Count inputs that end at the cut: `open` where nothing is sent now, else `skipped`."""
        if not self.breaker.is_open:
            return self.skip(inputs)
        self.stats.skip(OPEN, inputs)
        return Attempt(OPEN, None)

    def attempt(self, tensors: Mapping[str, np.ndarray], rows: int, budget_s: Optional[float] = None) -> Attempt:
        """Ask the server once about `rows` inputs, within the budget of an attempt, or a shorter one.

        Args:
            tensors: at the cut, by their names in the bundle.
            rows: their number.
            budget_s: at most as much, or None.
        """
        if self.breaker.is_open:
            self.stats.skip(OPEN, rows)
            return Attempt(OPEN, None)
        start_s = time.monotonic()
        if not all(_is_finite(tensors[i.tensor]) for i in self.spec.inputs):
            return self.skip(rows)
        end_s = start_s + (self.timeout_s if budget_s is None else min(budget_s, self.timeout_s))
        try:
            request = self._request(tensors, rows)
            reply = self._client.infer(request, max(0.0, end_s - time.monotonic()))
            answers = self._check(reply, rows)
        except Exception as error:  # a client is code of several libraries; the device has to answer whatever they do
            kind = error.kind if isinstance(error, OffloadError) else CLIENT_ERROR
            if kind == CLIENT_ERROR:
                _LOGGER.warning("a request to %s failed: %s", self._endpoint.host_and_port, type(error).__name__)
            outcome = self.stats.fail(rows, (time.monotonic() - start_s) * 1e3, kind)
            self.keeper.request_failed()
            return Attempt(outcome, None)
        latency_ms = (time.monotonic() - start_s) * 1e3
        self.breaker.request_succeeded()
        self.stats.succeed(rows, latency_ms, reply.bytes_sent, reply.bytes_received)
        return Attempt(OK, answers)

    def _request(self, tensors: Mapping[str, np.ndarray], rows: int) -> InferRequest:
        inputs = {sent.name: encode(tensors[sent.tensor]) for sent, encode in self._encoders}
        reply_bytes = 4 * rows * (self._classes + 1) * len(self.spec.outputs)
        room_bytes = _ROOM_BYTES + _ROOM_PER_OUTPUT_BYTES * len(self._outputs)
        return InferRequest(self.spec.model, {**inputs, **self._scalars}, self._outputs, reply_bytes + room_bytes)

    def _check(self, reply: InferReply, rows: int) -> Answers:
        """Return the answers of a reply; raises ServerRefused where it is not what was asked for."""
        if reply.model != self.spec.model:
            raise ServerRefused(WRONG_MODEL, "the server answers for another model")
        if reply.outputs.keys() != set(self._outputs):
            raise ServerRefused(WRONG_SHAPE, "the reply has other outputs than those asked for")
        answers = {}
        for output in self.spec.outputs:
            logits = self._output(reply, output.logits, (rows, self._classes))
            answers[output.exit] = (logits, self._output(reply, output.confidence, (rows,)))
        return answers

    def _output(self, reply: InferReply, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = reply.outputs[name]
        if array.dtype != np.float32 or array.shape != shape:
            raise ServerRefused(WRONG_SHAPE, f"{name!r} is {array.dtype} {array.shape}, not float32 {shape}")
        if not _is_finite(array):
            raise ServerRefused(NOT_FINITE, f"{name!r} is not finite")
        return array


def _later_scalars(m: Manifest, policy: OffloadPolicy, first_exit: int) -> dict[str, np.ndarray]:
    """Return temperatures, and slopes and offsets, of the exits behind the cut: float32 (1,) by name."""
    columns = [policy.temperatures]
    if m.exits[0].slope is not None:
        columns += [policy.slopes, policy.offsets]
    named = [(e.scalars, values) for e, values in zip(m.exits, zip(*columns))]
    return {
        name: np.array([value], np.float32)
        for names, values in named[first_exit:]
        for name, value in zip(names, values)
    }


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
