"""Client of the Open Inference Protocol v2 over gRPC, with the libraries grpcio and protobuf."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from ..fork_guard import never_free_in_children
from .client import InferReply, InferRequest
from .errors import (
    BUSY,
    CERTIFICATE,
    CONNECTION_REFUSED,
    PROTOCOL,
    REJECTED,
    SERVER_ERROR,
    TOO_LARGE,
    UNAUTHORISED,
    UNREACHABLE,
    WRONG_MODEL,
    WRONG_SHAPE,
    OffloadError,
    ServerRefused,
    TimeoutReached,
)
from .inference_messages import CLASSES, method_path
from .options import Offload
from .raw_tensors import array_of, datatype_of, raw_contents

_MAX_MESSAGE_BYTES = 64 << 20
_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # a variable of the environment must not lead requests elsewhere
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),  # a new channel makes a new connection
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_TLS_WORDS = ("CERTIFICATE_VERIFY_FAILED", "Peer name", "Hostname Verification", "handshake", "SSL", "TLS")
_CLIENT_WORDS = ("CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA")


class _Connection:
    """A channel and its methods.

    Attributes:
        users: number of requests under way.
        retired: True once another connection has taken its place.
    """

    def __init__(self, target: str, credentials: Optional[Any]) -> None:
        if credentials is None:
            channel = grpc.insecure_channel(target, _OPTIONS)
        else:
            channel = grpc.secure_channel(target, credentials, _OPTIONS)
        never_free_in_children(channel)
        self.users, self.retired = 0, False
        self.close: Callable[[], None] = channel.close
        self.model_infer: Callable[..., bytes] = channel.unary_unary(method_path("ModelInfer"))
        self.model_ready: Callable[..., bytes] = channel.unary_unary(method_path("ModelReady"))


class GrpcClient:
    """A client over gRPC, whose requests share a connection; see `client.InferenceClient`."""

    def __init__(self, offload: Offload) -> None:
        self._offload, self._endpoint = offload, offload.endpoint
        self._credentials = _credentials(offload) if offload.endpoint.is_encrypted else None
        self._token = offload.fixed_token
        self._closed = False
        self._prepared = threading.Event()
        if not offload.has_changing_token:
            self._prepared.set()
        self._lock = threading.Lock()
        self._connection: Optional[_Connection] = self._connect()

    def ready(self, model: str, timeout_s: float) -> bool:
        """Return whether the model is ready, see `client.InferenceClient`."""
        token = self._offload.fetch_token()
        connection = self._connect()
        request = CLASSES["ModelReadyRequest"](name=model).SerializeToString()
        try:
            raw = connection.model_ready(request, timeout=timeout_s, metadata=_metadata(token))
            is_ready = bool(_parse("ModelReadyResponse", raw).ready)
        except grpc.RpcError as error:
            connection.close()
            raise self._failed(error) from None
        except OffloadError:
            connection.close()
            raise
        self._token = token
        self._replace(connection)
        self._prepared.set()
        return is_ready

    def infer(self, request: InferRequest, timeout_s: float) -> InferReply:
        """Send one request, see `client.InferenceClient`."""
        deadline_s = time.monotonic() + timeout_s
        message = _encode(request)
        if not self._prepared.wait(timeout_s):
            raise TimeoutReached(f"no connection to {self._endpoint.host_and_port} was made in time")
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutReached
        with self._lock:
            connection = self._connection
            if connection is None:
                raise ServerRefused(UNREACHABLE, "the connection was closed")
            connection.users += 1
        try:
            raw = connection.model_infer(message, timeout=left_s, metadata=_metadata(self._token))
        except grpc.RpcError as error:
            raise self._failed(error) from None
        finally:
            self._leave(connection)
        if len(raw) > request.max_bytes:
            raise ServerRefused(TOO_LARGE, f"the reply has {len(raw)} bytes; at most {request.max_bytes} were expected")
        reply = _parse("ModelInferResponse", raw)
        return InferReply(reply.model_name, _outputs(reply), len(message), len(raw))

    def close(self) -> None:
        """Close the connection, once the requests under way are over."""
        self._closed = True
        self._replace(None)

    def _connect(self) -> _Connection:
        return _Connection(f"dns:///{self._endpoint.host_and_port}", self._credentials)

    def _replace(self, connection: Optional[_Connection]) -> None:
        """Send later requests over another connection. Requests under way stay on the one before."""
        with self._lock:
            before, self._connection = self._connection, None if self._closed else connection
            if self._closed and connection is not None:
                connection.close()
            if before is not None:
                before.retired = True
                if not before.users:
                    before.close()

    def _leave(self, connection: _Connection) -> None:
        with self._lock:
            connection.users -= 1
            if connection.retired and not connection.users:
                connection.close()

    def _failed(self, error: Any) -> OffloadError:
        """Return the error that a status means."""
        where, code, details = self._endpoint.host_and_port, error.code(), error.details() or ""
        codes = grpc.StatusCode
        if code == codes.DEADLINE_EXCEEDED:
            return TimeoutReached(f"{where} did not answer in time")
        if code == codes.UNAVAILABLE:
            return _unavailable(where, details)
        if code in (codes.UNAUTHENTICATED, codes.PERMISSION_DENIED):
            return ServerRefused(UNAUTHORISED, "the server refuses the token, which may have expired")
        if code == codes.NOT_FOUND or "unknown model" in details:
            return ServerRefused(WRONG_MODEL, "the server has no such model")
        if code == codes.UNIMPLEMENTED:
            return ServerRefused(PROTOCOL, f"{where} does not speak the Open Inference Protocol v2")
        if code == codes.RESOURCE_EXHAUSTED:
            if "larger than max" in details:
                return ServerRefused(TOO_LARGE, f"the reply has more than {_MAX_MESSAGE_BYTES} bytes")
            return ServerRefused(BUSY, "the server takes no more requests")
        if code in (codes.INVALID_ARGUMENT, codes.FAILED_PRECONDITION, codes.OUT_OF_RANGE):
            return ServerRefused(REJECTED, f"the server does not accept the request ({code.name})")
        if code == codes.CANCELLED:
            return ServerRefused(UNREACHABLE, "the connection was closed")
        return ServerRefused(SERVER_ERROR, f"the server failed ({code.name})")


def _unavailable(where: str, details: str) -> ServerRefused:
    if "unknown model" in details:
        return ServerRefused(WRONG_MODEL, "the server has no such model")
    if any(word in details for word in _CLIENT_WORDS):
        return ServerRefused(UNAUTHORISED, f"{where} refuses this client's certificate")
    if any(word in details for word in _TLS_WORDS):
        return ServerRefused(CERTIFICATE, f"no connection with TLS to {where}: its certificate or its name is refused")
    if "refused" in details:
        return ServerRefused(CONNECTION_REFUSED, f"nothing answers at {where}: the connection was refused")
    return ServerRefused(UNREACHABLE, f"{where} cannot be reached")


def _credentials(offload: Offload) -> Any:
    offload.tls_context()  # refuses files that are no certificates, with a reason
    roots = None if offload.authorities is None else offload.authorities.read_bytes()
    if offload.certificate is None:
        return grpc.ssl_channel_credentials(roots)
    chain, key = (file.read_bytes() for file in offload.certificate)
    return grpc.ssl_channel_credentials(roots, key, chain)


def _metadata(token: Optional[str]) -> Optional[tuple[tuple[str, str], ...]]:
    return None if token is None else (("authorization", f"Bearer {token}"),)


def _encode(request: InferRequest) -> bytes:
    message = CLASSES["ModelInferRequest"](model_name=request.model)
    for name, array in request.inputs.items():
        message.inputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        message.raw_input_contents.append(raw_contents(array))
    for name in request.outputs:
        message.outputs.add(name=name)
    encoded: bytes = message.SerializeToString()
    return encoded


def _parse(message: str, raw: bytes) -> Any:
    try:
        return CLASSES[message].FromString(raw)
    except DecodeError:
        raise ServerRefused(PROTOCOL, "the reply is no message of the Open Inference Protocol v2") from None


def _outputs(reply: Any) -> dict[str, Any]:
    """Return the outputs of a reply, raw or as lists of floats."""
    raw = list(reply.raw_output_contents)
    if not raw:
        contents = [tensor.contents.fp32_contents for tensor in reply.outputs]
        raw = [np.array(numbers, "<f4").tobytes() for numbers in contents]
    if len(raw) != len(reply.outputs):
        raise ServerRefused(WRONG_SHAPE, f"the reply has {len(reply.outputs)} outputs, and contents of {len(raw)}")
    return {
        tensor.name: array_of(tensor.name[:60], tensor.datatype, list(tensor.shape), data)
        for tensor, data in zip(reply.outputs, raw)
    }
