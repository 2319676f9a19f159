"""A small server of the Open Inference Protocol v2 for tests: gRPC or REST with binary tensors, on loopback.

It serves models of a repository (`NAME/1/model.onnx`) with onnxruntime, and errs on demand. It has its own table of
types and its own reader of requests, so that an error of the client is not repeated here; only the messages of gRPC are
shared, whose field numbers a test compares with `inference.proto`.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from tests.helpers.certificates import Tls, server_context

NUMPY = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8, "INT64": np.int64, "INT32": np.int32}
NAMES = {np.dtype(dtype): name for name, dtype in NUMPY.items()}
Arrays = dict[str, np.ndarray]


class Refusal(NamedTuple):
    """An answer of a server that does not run the model."""

    http_status: int
    grpc_code: str  # name of a grpc.StatusCode
    text: str


@dataclass
class Behaviour:
    """What a server does; tests change it while it runs.

    Attributes:
        ready: answer to the question for readiness.
        delay_s: before each reply.
        refusal: given instead of a reply.
        change: of the model's name and its outputs, before they are sent.
        token: that every request has to have.
        requests: number of requests that ran a model.
    """

    ready: bool = True
    delay_s: float = 0.0
    refusal: Refusal | None = None
    change: Callable[[str, Arrays], tuple[str, Arrays]] | None = None
    token: str | None = None
    requests: int = 0
    seen: list[Arrays] = field(default_factory=list)


class Models:
    """Models of a repository."""

    def __init__(self, repository: Path, behaviour: Behaviour) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._sessions = {
            path.parent.parent.name: onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            for path in sorted(repository.glob("*/1/model.onnx"))
        }
        self.behaviour = behaviour
        self._lock = threading.Lock()

    def refusal(self, authorization: str | None, model: str | None) -> Refusal | None:
        """Return why a request is refused, or None."""
        if self.behaviour.token is not None and authorization != f"Bearer {self.behaviour.token}":
            return Refusal(401, "UNAUTHENTICATED", "the token has expired")
        if model is not None and model not in self._sessions:
            return Refusal(404, "NOT_FOUND", f"unknown model {model}")
        return None

    def run(self, model: str, inputs: Arrays, outputs: list[str]) -> tuple[str, Arrays] | Refusal:
        time.sleep(self.behaviour.delay_s)
        with self._lock:
            self.behaviour.requests += 1
            self.behaviour.seen = [*self.behaviour.seen[-9:], inputs]
        if self.behaviour.refusal is not None:
            return self.behaviour.refusal
        try:
            made = self._sessions[model].run(outputs, inputs)
        except Exception as error:
            return Refusal(400, "INVALID_ARGUMENT", str(error)[:200])
        answer = model, dict(zip(outputs, made))
        return answer if self.behaviour.change is None else self.behaviour.change(*answer)


class InferenceServer:
    """A running server, to be used as a context manager.

    Attributes:
        url: of the server.
        port: where it listens.
        behaviour: what it does.
    """

    def __init__(
        self,
        repository: Path,
        protocol: str = "grpc",
        tls: Tls | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        """Serve the models of `repository` at an address; `protocol` is `grpc` or `http`."""
        self.behaviour = Behaviour()
        models = Models(repository, self.behaviour)
        start = _start_grpc if protocol == "grpc" else _start_http
        self.port, self._stop = start(models, tls, host, port)
        named = host if tls is None else "localhost"
        self.url = f"{protocol}{'' if tls is None else 's'}://{named}:{self.port}"

    def close(self) -> None:
        """Stop, and break all connections."""
        self._stop()

    def __enter__(self) -> InferenceServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start_grpc(models: Models, tls: Tls | None, host: str, port: int) -> tuple[int, Callable[[], None]]:
    import grpc

    from eetool_runtime.offload.inference_messages import CLASSES, METHODS, PACKAGE, SERVICE

    def check(context: Any, model: str | None) -> None:
        metadata = dict(context.invocation_metadata())
        refusal = models.refusal(metadata.get("authorization"), model)
        if refusal is not None:
            context.abort(grpc.StatusCode[refusal.grpc_code], refusal.text)

    def server_ready(request: Any, context: Any) -> Any:
        check(context, None)
        return CLASSES["ServerReadyResponse"](ready=models.behaviour.ready)

    def model_ready(request: Any, context: Any) -> Any:
        check(context, request.name)
        return CLASSES["ModelReadyResponse"](ready=models.behaviour.ready)

    def model_infer(request: Any, context: Any) -> Any:
        check(context, request.model_name)
        inputs = {
            tensor.name: np.frombuffer(raw, NUMPY[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, raw in zip(request.inputs, request.raw_input_contents)
        }
        answer = models.run(request.model_name, inputs, [output.name for output in request.outputs])
        if isinstance(answer, Refusal):
            context.abort(grpc.StatusCode[answer.grpc_code], answer.text)
        reply = CLASSES["ModelInferResponse"](model_name=answer[0], model_version="1")
        for name, array in answer[1].items():
            reply.outputs.add(name=name, datatype=NAMES[array.dtype], shape=array.shape)
            reply.raw_output_contents.append(array.tobytes())
        return reply

    handlers = {"ServerReady": server_ready, "ModelReady": model_ready, "ModelInfer": model_infer}
    assert set(handlers) == set(METHODS)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    rpcs = {
        name: grpc.unary_unary_rpc_method_handler(
            handler, CLASSES[f"{name}Request"].FromString, CLASSES[f"{name}Response"].SerializeToString
        )
        for name, handler in handlers.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", rpcs),))
    address = f"{host}:{port}"
    if tls is None:
        bound = server.add_insecure_port(address)
    else:
        clients = tls.client_authority
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        roots = None if clients is None else clients.read_bytes()
        bound = server.add_secure_port(
            address, grpc.ssl_server_credentials([pair], roots, require_client_auth=clients is not None)
        )
    server.start()
    return bound, lambda: server.stop(None).wait() and None


def _start_http(models: Models, tls: Tls | None, host: str, port: int) -> tuple[int, Callable[[], None]]:
    class Handler(_Handler):
        served = models

    server = _Server((host, port), Handler)
    server.context = None if tls is None else server_context(tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        server.break_connections()
        thread.join()

    return server.server_address[1], stop


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    context: Any = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[Any] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection; the handshake of TLS happens in its own thread."""
        if self.context is not None:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
        self._open.add(request)
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass  # the client is gone
        finally:
            self._open.discard(request)
            if self.context is not None:
                request.close()

    def break_connections(self) -> None:
        """Break all connections at once, as the end of a process does."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    served: Models

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = self.path.split("/")
        model = parts[3] if parts[1:3] == ["v2", "models"] and parts[-1] == "ready" else None
        if model is None and self.path != "/v2/health/ready":
            return self._send_json(404, {"error": "no such page"})
        refusal = self.served.refusal(self.headers.get("Authorization"), model)
        if refusal is not None:
            return self._send_json(refusal.http_status, {"error": refusal.text})
        return self._send_json(200 if self.served.behaviour.ready else 503, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.split("/")
        refusal = self.served.refusal(self.headers.get("Authorization"), parts[3])
        if refusal is not None:
            return self._send_json(refusal.http_status, {"error": refusal.text})
        size = int(self.headers["Inference-Header-Content-Length"])
        header, inputs, at = json.loads(body[:size]), {}, size
        for tensor in header["inputs"]:
            end = at + tensor["parameters"]["binary_data_size"]
            raw = np.frombuffer(body[at:end], NUMPY[tensor["datatype"]])
            inputs[tensor["name"]], at = raw.reshape(tensor["shape"]), end
        answer = self.served.run(parts[3], inputs, [output["name"] for output in header["outputs"]])
        if isinstance(answer, Refusal):
            return self._send_json(answer.http_status, {"error": answer.text})
        return self._send_arrays(*answer)

    def _send_arrays(self, model: str, outputs: Mapping[str, np.ndarray]) -> None:
        described = [
            {
                "name": name,
                "datatype": NAMES[array.dtype],
                "shape": list(array.shape),
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in outputs.items()
        ]
        header = json.dumps({"model_name": model, "model_version": "1", "outputs": described}).encode()
        self._send(
            200,
            header + b"".join(array.tobytes() for array in outputs.values()),
            {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))},
        )

    def _send_json(self, status: int, document: object) -> None:
        headers = {"Content-Type": "application/json"}
        if 300 <= status < 400:
            headers["Location"] = "https://elsewhere.invalid/"
        self._send(status, json.dumps(document).encode(), headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
