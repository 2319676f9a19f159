"""Interface of a client of the Open Inference Protocol v2, and what it sends and receives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np


class InferRequest(NamedTuple):
    """One request.

    Attributes:
        model: name of the server's model.
        inputs: by name.
        outputs: names of the outputs that are asked for.
        max_bytes: largest reply that is read.
    """

    model: str
    inputs: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    max_bytes: int = 1 << 20


class InferReply(NamedTuple):
    """One reply, not checked yet against the request.

    Attributes:
        model: name of the model that the server says it ran.
        outputs: by name.
        bytes_sent: size of the request, headers included where they are known.
        bytes_received: size of the reply, likewise.
    """

    model: str
    outputs: Mapping[str, np.ndarray]
    bytes_sent: int = 0
    bytes_received: int = 0


class InferenceClient(Protocol):
    """A client of one server, which several threads may use at once."""

    def ready(self, model: str, timeout_s: float) -> bool:
        """Return whether the server and its model `model` are ready, over a new connection, which then serves requests.

        It may take longer than `timeout_s` where the name of the host has to be found; calls never use it.

        Raises:
            OffloadError: the server cannot be asked.
        """

    def infer(self, request: InferRequest, timeout_s: float) -> InferReply:
        """Send one request, once, and return its reply. Everything, connecting included, happens within `timeout_s`.

        Raises:
            TimeoutReached: the time is over.
            ServerRefused: anything else failed.
        """

    def close(self) -> None:
        """Close all connections; the client cannot be used any more."""
