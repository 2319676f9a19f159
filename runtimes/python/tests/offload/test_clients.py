"""Clients of both protocols against a server: the same requests, replies and errors."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool_runtime.offload import Offload, OffloadError
from eetool_runtime.offload.client import InferenceClient, InferRequest
from eetool_runtime.offload.connect import open_client
from tests.helpers.certificates import Authority, Tls
from tests.helpers.fault_proxy import Fault, FaultProxy
from tests.helpers.inference_server import InferenceServer, Refusal

OUTPUTS = ["exit1_logits", "exit1_confidence", "exit2_logits", "exit2_confidence"]
LONG_S = 20.0
SHORT_S = 0.2


@pytest.fixture
def model(pair: tuple[Path, Path]) -> str:
    return next(pair[1].iterdir()).name


@pytest.fixture
def client(server: InferenceServer) -> Iterator[InferenceClient]:
    made = open_client(Offload(server.url))
    yield made
    made.close()


def request_to(model: str, rows: int = 1, **changes: Any) -> InferRequest:
    features = np.arange(16 * rows, dtype=np.float32).reshape(rows, 1, 4, 4)
    scalars = {f"exit{k}_temperature": np.array([1 + k / 4], np.float32) for k in (1, 2)}
    return InferRequest(model, {"features0": features, **scalars}, OUTPUTS)._replace(**changes)


def kind_of(client: InferenceClient, request: InferRequest, timeout_s: float = LONG_S) -> str:
    with pytest.raises(OffloadError) as caught:
        client.infer(request, timeout_s)
    assert caught.value.exit_code == 5
    return caught.value.kind


def at(server: InferenceServer, port: int) -> str:
    return server.url.replace(str(server.port), str(port))


@pytest.mark.parametrize("rows", [1, 3])
def test_infer_reply_has_the_outputs_of_the_model(client: InferenceClient, model: str, rows: int) -> None:
    assert client.ready(model, LONG_S)
    request = request_to(model, rows)
    reply = client.infer(request, LONG_S)
    assert (reply.model, set(reply.outputs)) == (model, set(OUTPUTS))
    expected = np.maximum(request.inputs["features0"] * 2, 0).mean((1, 3)) * 2
    np.testing.assert_allclose(reply.outputs["exit2_logits"], expected * 2 / 2, rtol=1e-6)
    assert reply.outputs["exit1_confidence"].shape == (rows,)
    assert reply.bytes_sent > 64 * rows
    assert reply.bytes_received > 40 * rows


def test_infer_without_ready_connects_within_the_call(server: InferenceServer, model: str) -> None:
    client = open_client(Offload(server.url))
    first = threading.Timer(0.05, client.ready, (model, LONG_S))  # what a model's thread does
    first.start()
    assert client.infer(request_to(model), LONG_S).model == model
    first.join()
    client.close()


def test_infer_connection_is_used_again(client: InferenceClient, server: InferenceServer, model: str) -> None:
    with FaultProxy(server.port) as proxy:
        through = open_client(Offload(at(server, proxy.port)))
        through.ready(model, LONG_S)
        for _ in range(5):
            through.infer(request_to(model), LONG_S)
        assert proxy.connections == 1
        through.close()


def test_infer_unknown_model_is_wrong_model(client: InferenceClient, model: str) -> None:
    client.ready(model, LONG_S)
    assert kind_of(client, request_to("other-01234567")) == "wrong_model"
    with pytest.raises(OffloadError) as caught:
        client.ready("other-01234567", LONG_S)
    assert caught.value.kind == "wrong_model"
    assert client.infer(request_to(model), LONG_S).model == model  # the client is as good as before


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(400, "INVALID_ARGUMENT", "x"), "rejected"),
        (Refusal(401, "UNAUTHENTICATED", "x"), "unauthorised"),
        (Refusal(403, "PERMISSION_DENIED", "x"), "unauthorised"),
        (Refusal(404, "NOT_FOUND", "x"), "wrong_model"),
        (Refusal(429, "RESOURCE_EXHAUSTED", "x"), "busy"),
        (Refusal(500, "INTERNAL", "x"), "server_error"),
        (Refusal(502, "UNKNOWN", "x"), "server_error"),
    ],
)
def test_infer_refusal_has_its_kind(
    client: InferenceClient, server: InferenceServer, model: str, refusal: Refusal, kind: str
) -> None:
    client.ready(model, LONG_S)
    server.behaviour.refusal = refusal
    assert kind_of(client, request_to(model)) == kind
    server.behaviour.refusal = None
    assert client.infer(request_to(model), LONG_S).model == model


def test_infer_redirect_is_not_followed(pair: tuple[Path, Path], model: str) -> None:
    with InferenceServer(pair[1], "http") as server:
        client = open_client(Offload(server.url))
        client.ready(model, LONG_S)
        for status in (301, 302, 307, 308):
            server.behaviour.refusal = Refusal(status, "UNKNOWN", "elsewhere")
            assert kind_of(client, request_to(model)) == "redirected"
        client.close()


def test_ready_server_that_is_not_ready_is_false(client: InferenceClient, server: InferenceServer, model: str) -> None:
    server.behaviour.ready = False
    assert not client.ready(model, LONG_S)


def test_infer_nothing_listens_is_connection_refused(server: InferenceServer, model: str) -> None:
    client = open_client(Offload(server.url))
    client.ready(model, LONG_S)
    server.close()
    kinds = {kind_of(client, request_to(model)) for _ in range(3)}
    assert kinds <= {"connection_refused", "unreachable"}  # the open connection breaks first
    with pytest.raises(OffloadError) as caught:
        client.ready(model, LONG_S)
    assert caught.value.kind == "connection_refused"
    client.close()


def test_ready_unknown_host_is_unreachable(protocol: str, model: str) -> None:
    client = open_client(Offload(f"{protocol}://no-such-host.invalid"))
    with pytest.raises(OffloadError) as caught:
        client.ready(model, 2.0)
    assert caught.value.kind in ("unreachable", "timeout")
    client.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(black_hole=True),
        Fault(half_open=True),
        Fault(slow_body_s=0.05),
        Fault(delay_s=10.0),
        Fault(mbit_s=0.001),
    ],
    ids=str,
)
def test_infer_silent_or_slow_server_ends_in_time(server: InferenceServer, model: str, fault: Fault) -> None:
    with FaultProxy(server.port) as proxy:
        client = open_client(Offload(at(server, proxy.port)))
        client.ready(model, LONG_S)
        proxy.fault = fault
        start = time.monotonic()
        assert kind_of(client, request_to(model), SHORT_S) == "timeout"
        assert SHORT_S * 0.9 <= time.monotonic() - start < LONG_S / 2
        proxy.fault = Fault()
        assert client.ready(model, LONG_S)  # over a new connection
        assert client.infer(request_to(model), LONG_S).model == model
        client.close()


@pytest.mark.parametrize("fault", [Fault(garbage=True), Fault(reset_after=0), Fault(reset_after=20)], ids=str)
def test_infer_damaged_reply_is_refused(server: InferenceServer, model: str, fault: Fault) -> None:
    with FaultProxy(server.port) as proxy:
        client = open_client(Offload(at(server, proxy.port)))
        client.ready(model, LONG_S)
        proxy.fault = fault
        assert kind_of(client, request_to(model), 2.0) in ("protocol", "unreachable", "server_error", "timeout")
        proxy.fault = Fault()
        assert client.ready(model, LONG_S)
        assert client.infer(request_to(model), LONG_S).model == model
        client.close()


def test_infer_reply_larger_than_asked_for_is_too_large(client: InferenceClient, model: str) -> None:
    client.ready(model, LONG_S)
    assert kind_of(client, request_to(model, max_bytes=40)) == "too_large"
    assert client.infer(request_to(model), LONG_S).model == model


def test_infer_idle_connection_that_the_server_closed_is_replaced(
    server: InferenceServer, pair: tuple[Path, Path], model: str, protocol: str
) -> None:
    if protocol == "grpc":
        pytest.skip("gRPC watches its connections itself")
    with FaultProxy(server.port) as proxy:
        client = open_client(Offload(at(server, proxy.port)))
        client.ready(model, LONG_S)
        proxy.reset_all()
        time.sleep(0.05)
        assert client.infer(request_to(model), LONG_S).model == model
        client.close()


def test_infer_token_is_sent_and_renewed_by_ready(server: InferenceServer, model: str) -> None:
    tokens = iter(["old", "new"])
    server.behaviour.token = "old"
    client = open_client(Offload(server.url, token=lambda: next(tokens)))
    assert client.ready(model, LONG_S)
    assert client.infer(request_to(model), LONG_S).model == model
    server.behaviour.token = "new"
    assert kind_of(client, request_to(model)) == "unauthorised"
    assert client.ready(model, LONG_S)
    assert client.infer(request_to(model), LONG_S).model == model
    client.close()


@pytest.mark.parametrize("token", [None, "wrong"])
def test_ready_without_the_token_is_unauthorised(server: InferenceServer, model: str, token: str | None) -> None:
    server.behaviour.token = "right"
    client = open_client(Offload(server.url, token=token))
    with pytest.raises(OffloadError) as caught:
        client.ready(model, LONG_S)
    assert caught.value.kind == "unauthorised"
    assert "wrong" not in str(caught.value)
    client.close()


@pytest.fixture(scope="module")
def localhost(authority: Authority) -> Tls:
    return Tls(*authority.sign("localhost"))


def test_tls_known_authority_is_accepted(
    pair: tuple[Path, Path], protocol: str, model: str, authority: Authority, localhost: Tls
) -> None:
    with InferenceServer(pair[1], protocol, localhost) as server:
        client = open_client(Offload(server.url, ca=authority.certificate, token="right"))
        server.behaviour.token = "right"
        assert client.ready(model, LONG_S)
        assert client.infer(request_to(model), LONG_S).model == model
        client.close()


@pytest.mark.parametrize("problem", ["authority", "name", "expired", "plain"])
def test_tls_wrong_certificate_is_refused(
    pair: tuple[Path, Path],
    protocol: str,
    model: str,
    authority: Authority,
    localhost: Tls,
    problem: str,
    tmp_path: Path,
) -> None:
    expired = Tls(*authority.sign("localhost", days=-1)) if problem == "expired" else localhost
    trusted = Authority(tmp_path, "stranger") if problem == "authority" else authority
    with InferenceServer(pair[1], protocol, None if problem == "plain" else expired) as server:
        host = "127.0.0.1" if problem == "name" else "localhost"
        client = open_client(Offload(f"{protocol}s://{host}:{server.port}", ca=trusted.certificate))
        with pytest.raises(OffloadError) as caught:
            client.ready(model, 5.0)
        assert caught.value.kind == "certificate"
        client.close()


@pytest.mark.parametrize("has_certificate", [True, False])
def test_tls_server_asks_for_a_certificate_of_the_client(
    pair: tuple[Path, Path], protocol: str, model: str, authority: Authority, localhost: Tls, has_certificate: bool
) -> None:
    own = authority.sign("device") if has_certificate else None
    with InferenceServer(pair[1], protocol, localhost._replace(client_authority=authority.certificate)) as server:
        client = open_client(Offload(server.url, ca=authority.certificate, certificate=own))
        if has_certificate:
            assert client.ready(model, LONG_S)
        else:
            with pytest.raises(OffloadError) as caught:
                client.ready(model, 5.0)
            assert caught.value.kind in ("unauthorised", "certificate", "unreachable")
        client.close()


def test_ready_server_of_something_else_is_no_server_of_the_protocol(model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer(text: bytes) -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(text)

        client = open_client(Offload(f"http://127.0.0.1:{port}"))
        for text in (b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"):
            thread = threading.Thread(target=answer, args=(text,), daemon=True)
            thread.start()
            with pytest.raises(OffloadError) as caught:
                client.ready(model, LONG_S)
            assert caught.value.kind == "protocol"
            if text.startswith(b"SSH"):
                socket.create_connection(("127.0.0.1", port)).close()  # ends the thread
            thread.join(LONG_S)
        client.close()
