"""Failures of a request to a server. The text of none holds a URL beyond host and port, or a token."""

from __future__ import annotations

from typing import Optional

from ..errors import BackendError

TIMEOUT = "timeout"  # the budget ended
UNREACHABLE = "unreachable"  # no address, no route, or the connection broke
CONNECTION_REFUSED = "connection_refused"  # nothing listens there
CERTIFICATE = "certificate"  # TLS failed: unknown authority, another name, expired, or no TLS at all
UNAUTHORISED = "unauthorised"  # the server refuses the token or the client's certificate
REDIRECTED = "redirected"  # the server names another address, which is not followed
WRONG_MODEL = "wrong_model"  # the server has no such model, or answers for another
WRONG_SHAPE = "wrong_shape"  # an output is missing, or of another dtype or shape
NOT_FINITE = "not_finite"  # an output has NaN or infinity
PROTOCOL = "protocol"  # what came back is not of this protocol
TOO_LARGE = "too_large"  # the reply is larger than its outputs
REJECTED = "rejected"  # the server does not accept the request: its model has other inputs
BUSY = "busy"  # the server is not ready, or takes no more requests
SERVER_ERROR = "server_error"  # the server failed
CLIENT_ERROR = "client_error"  # a library of this device failed
KINDS = (
    TIMEOUT,
    UNREACHABLE,
    CONNECTION_REFUSED,
    CERTIFICATE,
    UNAUTHORISED,
    REDIRECTED,
    WRONG_MODEL,
    WRONG_SHAPE,
    NOT_FINITE,
    PROTOCOL,
    TOO_LARGE,
    REJECTED,
    BUSY,
    SERVER_ERROR,
    CLIENT_ERROR,
)


class OffloadError(BackendError):
    """A request that brought no usable reply.

    Attributes:
        kind: one of `KINDS`.
    """

    def __init__(self, kind: str, message: str, hint: Optional[str] = None) -> None:
        super().__init__(message, hint)
        self.kind = kind


class TimeoutReached(OffloadError):  # noqa: N818 - an outcome that is expected
    """A request whose budget ended before the reply was there."""

    def __init__(self, message: str = "the server did not answer in time") -> None:
        super().__init__(TIMEOUT, message)


class ServerRefused(OffloadError):  # noqa: N818
    """A request that failed before its budget ended, or whose reply is unusable."""
