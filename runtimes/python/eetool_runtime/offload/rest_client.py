"""Client of the Open Inference Protocol v2 over REST with binary tensors, on the standard library alone.

It uses `POST /v2/models/NAME/infer` and the questions for readiness. Tensors travel as in
the extension for binary data: behind a JSON header whose size the field `Inference-Header-Content-Length` has.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from typing import Any, NamedTuple, Optional

import numpy as np

from ..records import parse_json
from .client import InferReply, InferRequest
from .deadline_socket import Address, DeadlineSocket
from .errors import (
    BUSY,
    CERTIFICATE,
    CONNECTION_REFUSED,
    PROTOCOL,
    REDIRECTED,
    REJECTED,
    SERVER_ERROR,
    TOO_LARGE,
    UNAUTHORISED,
    UNREACHABLE,
    WRONG_MODEL,
    OffloadError,
    ServerRefused,
    TimeoutReached,
)
from .options import Offload
from .raw_tensors import array_of, datatype_of, raw_contents

_HEADER_SIZE = "Inference-Header-Content-Length"
_MAX_IDLE = 8  # connections that are kept for later calls
_MAX_SMALL_REPLY = 1 << 16
_UNKNOWN = -1


class _Reply(NamedTuple):
    status: int
    header_size: int
    body: bytes
    sent: int = 0  # bytes of the whole request
    received: int = 0


class RestClient:
    """A client over HTTP/1.1 with connections that are kept open; see `client.InferenceClient`.

    Names of hosts are looked up by `ready` alone, because nothing can end such a look-up in time. Before the first one,
    `infer` waits for it within its own budget.
    """

    def __init__(self, offload: Offload) -> None:
        self._offload, self._endpoint = offload, offload.endpoint
        self._context = offload.tls_context() if offload.endpoint.is_encrypted else None
        self._idle: list[DeadlineSocket] = []  # append and pop are atomic
        self._address: Optional[Address] = None
        self._token: Optional[str] = None
        self._prepared = threading.Event()
        self._closed = False

    def ready(self, model: str, timeout_s: float) -> bool:
        """Return whether the model is ready, see `client.InferenceClient`."""
        token = self._offload.fetch_token()
        found = self._look_up()
        deadline_s = time.monotonic() + timeout_s
        problem: OffloadError = ServerRefused(UNREACHABLE, f"{self._endpoint.host} has no address")
        for number, address in enumerate(found):
            left_s = deadline_s - time.monotonic()
            try:  # an address that is silent must leave time for the others
                connection = self._connect(address, time.monotonic() + left_s / (len(found) - number))
            except OffloadError as error:
                problem = error
                continue
            self._close_idle()
            self._address, self._token = address, token
            self._prepared.set()
            return self._ask_ready(connection, model, deadline_s)
        raise problem

    def infer(self, request: InferRequest, timeout_s: float) -> InferReply:
        """Send one request, see `client.InferenceClient`."""
        deadline_s = time.monotonic() + timeout_s
        if not self._prepared.wait(timeout_s) or self._address is None:
            raise TimeoutReached(f"no connection to {self._endpoint.host_and_port} was made in time")
        head, body = _encode(request)
        connection = self._take(deadline_s)
        path = f"/v2/models/{request.model}/infer"
        reply = self._exchange(connection, "POST", path, deadline_s, request.max_bytes, head + body, len(head))
        _check_status(reply.status, request.model)
        outputs, name = _decode(reply)
        return InferReply(name, outputs, reply.sent, reply.received)

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        self._prepared.set()
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was first
                return

    def _look_up(self) -> list[Address]:
        try:
            found = socket.getaddrinfo(self._endpoint.host, self._endpoint.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ServerRefused(UNREACHABLE, f"the address of {self._endpoint.host} cannot be found") from None
        return [(family, address) for family, _, _, _, address in found]

    def _connect(self, address: Address, deadline_s: float) -> DeadlineSocket:
        try:
            return DeadlineSocket(address, deadline_s, self._context, self._endpoint.host)
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate of {self._endpoint.host_and_port} is refused: {error.verify_message}"
            raise ServerRefused(CERTIFICATE, text) from None
        except ssl.SSLError as error:
            raise self._tls_broke(error, CERTIFICATE) from None
        except OSError as error:
            raise self._failed(error) from None

    def _take(self, deadline_s: float) -> DeadlineSocket:
        """Return a connection that is open, or a new one."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.is_quiet:
                return connection
            connection.close()  # the server has ended it
        assert self._address is not None
        return self._connect(self._address, deadline_s)

    def _ask_ready(self, connection: DeadlineSocket, model: str, deadline_s: float) -> bool:
        reply = self._exchange(connection, "GET", f"/v2/models/{model}/ready", deadline_s, _MAX_SMALL_REPLY)
        if reply.status == 404:
            other = self._take(deadline_s)
            health = self._exchange(other, "GET", "/v2/health/ready", deadline_s, _MAX_SMALL_REPLY)
            if health.status == 404:
                raise ServerRefused(
                    PROTOCOL, f"{self._endpoint.host_and_port} does not speak the Open Inference Protocol v2"
                )
        if reply.status in (400, 503):  # known, but not loaded
            return False
        _check_status(reply.status, model)
        return True

    def _exchange(
        self,
        connection: DeadlineSocket,
        method: str,
        path: str,
        deadline_s: float,
        max_bytes: int,
        body: bytes = b"",
        header_size: Optional[int] = None,
    ) -> _Reply:
        """Send a request and return the reply; the connection is kept unless anything failed."""
        connection.deadline_s = deadline_s
        connection.sent = connection.received = 0
        keep = False
        try:
            connection.sendall(self._request_head(method, path, len(body), header_size) + body)
            with http.client.HTTPResponse(connection, method=method) as response:  # type: ignore[arg-type]
                response.begin()
                reply = _read(response, max_bytes)
                keep = not response.will_close and not self._closed
            return reply._replace(sent=connection.sent, received=connection.received)
        except OffloadError:
            raise
        except ssl.SSLError as error:
            raise self._tls_broke(error) from None
        except OSError as error:
            raise self._failed(error) from None
        except http.client.HTTPException as error:
            text = f"{self._endpoint.host_and_port} did not answer as a server of HTTP: {type(error).__name__}"
            raise ServerRefused(PROTOCOL, text) from None
        finally:
            if keep and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
            else:
                connection.close()

    def _request_head(self, method: str, path: str, length: int, header_size: Optional[int]) -> bytes:
        lines = [f"{method} {self._endpoint.path}{path} HTTP/1.1", f"Host: {self._endpoint.host_and_port}"]
        lines += ["Accept: */*", f"Content-Length: {length}"]
        if header_size is not None:
            lines += ["Content-Type: application/octet-stream", f"{_HEADER_SIZE}: {header_size}"]
        if self._token is not None:
            lines.append(f"Authorization: Bearer {self._token}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def _tls_broke(self, error: ssl.SSLError, kind: str = UNREACHABLE) -> OffloadError:
        """Return the error of a connection with TLS that failed; of what kind, depends on when it did."""
        where, reason = self._endpoint.host_and_port, error.reason or "unknown reason"
        if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
            return ServerRefused(UNAUTHORISED, f"{where} refuses this client's certificate: {reason}")
        return ServerRefused(kind, f"no connection with TLS to {where}: {reason}")

    def _failed(self, error: OSError) -> OffloadError:
        """Return the error that an error of the system means."""
        where = self._endpoint.host_and_port
        if isinstance(error, (socket.timeout, TimeoutError)):
            return TimeoutReached(f"{where} did not answer in time")
        if isinstance(error, ConnectionRefusedError):
            return ServerRefused(CONNECTION_REFUSED, f"nothing answers at {where}: the connection was refused")
        return ServerRefused(UNREACHABLE, f"{where} cannot be reached: {error.strerror or type(error).__name__}")


def _encode(request: InferRequest) -> tuple[bytes, bytes]:
    """Return the JSON header and the raw contents of a request."""
    contents = [raw_contents(array) for array in request.inputs.values()]
    header = {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype_of(array),
                "parameters": {"binary_data_size": len(raw)},
            }
            for (name, array), raw in zip(request.inputs.items(), contents)
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in request.outputs],
    }
    return json.dumps(header, separators=(",", ":")).encode(), b"".join(contents)


def _read(response: http.client.HTTPResponse, max_bytes: int) -> _Reply:
    """Return a reply of at most so many bytes."""
    expected = response.length
    if expected is not None and expected > max_bytes:
        raise ServerRefused(TOO_LARGE, f"the reply has {expected} bytes; at most {max_bytes} belong to its outputs")
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise ServerRefused(TOO_LARGE, f"the reply has more than {max_bytes} bytes, which belong to its outputs")
    if expected is not None and len(body) < expected:
        raise ServerRefused(UNREACHABLE, "the connection ended within the reply")
    size = response.headers.get(_HEADER_SIZE, "")
    return _Reply(
        response.status, int(size) if size.isascii() and size.isdigit() and len(size) < 10 else _UNKNOWN, body
    )


def _check_status(status: int, model: str) -> None:
    """Raise what a status other than success means."""
    if status == 200:
        return
    if 300 <= status < 400:
        raise ServerRefused(REDIRECTED, f"the server redirects (status {status}), which is not followed")
    kinds = {
        401: (UNAUTHORISED, "the server refuses the token, which may have expired"),
        403: (UNAUTHORISED, "the server refuses the token, which may have expired"),
        404: (WRONG_MODEL, f"the server has no model {model!r}"),
        429: (BUSY, "the server takes no more requests"),
        503: (BUSY, "the server is not ready"),
    }
    rejected = (REJECTED, "the server does not accept the request") if 400 <= status < 500 else None
    kind, text = kinds.get(status) or rejected or (SERVER_ERROR, "the server failed")
    raise ServerRefused(kind, f"{text} (status {status})")


def _decode(reply: _Reply) -> tuple[dict[str, np.ndarray], str]:
    """Return the outputs and the name of the model of a reply."""
    size = len(reply.body) if reply.header_size == _UNKNOWN else reply.header_size
    if size > len(reply.body):
        raise ServerRefused(PROTOCOL, "the JSON header of the reply is longer than the reply")
    try:
        header = parse_json(reply.body[:size].decode("utf-8"), _no_header)
    except UnicodeDecodeError:
        raise ServerRefused(PROTOCOL, "the JSON header of the reply is not UTF-8") from None
    outputs, at = {}, size
    for tensor in _entries(header):
        name, shape, parameters = tensor.get("name"), tensor.get("shape"), tensor.get("parameters") or {}
        if not isinstance(name, str) or not isinstance(shape, list) or not isinstance(parameters, dict):
            raise ServerRefused(PROTOCOL, "an output of the reply has no name or no shape")
        count = parameters.get("binary_data_size")
        if type(count) is not int or not 0 <= count <= len(reply.body) - at:
            raise ServerRefused(PROTOCOL, "the server does not answer in binary; gRPC may serve instead")
        outputs[name] = array_of(name[:60], tensor.get("datatype"), shape, reply.body[at : at + count])
        at += count
    name = header.get("model_name")
    if not isinstance(name, str):
        raise ServerRefused(PROTOCOL, "the reply names no model")
    return outputs, name


def _no_header(reason: str) -> ServerRefused:
    return ServerRefused(PROTOCOL, f"the JSON header of the reply: {reason}")


def _entries(header: Any) -> list[dict[str, Any]]:
    found = header.get("outputs") if isinstance(header, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ServerRefused(PROTOCOL, "the reply has no outputs")
    return found
