"""Settings of a server: checks, tokens and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool_runtime.errors import UsageError
from eetool_runtime.offload import Offload, OffloadError
from tests.helpers.certificates import Authority


def test_offload_defaults_are_documented_ones() -> None:
    offload = Offload("grpc://edge")
    assert (offload.timeout_ms, offload.fallback, offload.fetch_token()) == (40.0, "local", None)


def test_offload_repr_has_no_secret() -> None:
    assert repr(Offload("https://edge:8443", token="hunter2")) == (
        "Offload(https://edge:8443, timeout_ms=40, fallback='local')"
    )
    assert "hunter2" not in str(vars(Offload("https://edge:8443", token=lambda: "hunter2")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"timeout_ms": 0}, "timeout_ms must lie in"),
        ({"timeout_ms": float("nan")}, "timeout_ms must lie in"),
        ({"timeout_ms": float("inf")}, "timeout_ms must lie in"),
        ({"timeout_ms": "40"}, "timeout_ms must lie in"),
        ({"timeout_ms": np.ones(2)}, "timeout_ms must lie in"),
        ({"fallback": "never"}, "unknown fallback 'never'"),
        ({"fallback": None}, "unknown fallback None"),
        ({"token": 7}, "token must be a string or a function"),
        ({"token": "hunter2\r\nX: y"}, "printable ASCII"),
        ({"token": "hunter2 x"}, "printable ASCII"),
        ({"token": ""}, "1 to 8192 characters"),
        ({"token": "hunter2" * 2000}, "1 to 8192 characters"),
        ({"ca": "/no/such/file.pem"}, "ca: .* cannot be read"),
        ({"ca": 7}, "ca must be a path"),
        ({"ca": "\0"}, "ca: .* cannot be read"),
        ({"certificate": "client.pem"}, "must be a pair"),
        ({"certificate": ("/no/such.pem", "/no/such.key")}, "certificate: .* cannot be read"),
    ],
)
def test_offload_invalid_argument_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Offload("https://edge", **arguments)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["grpc://edge", "http://10.1.2.3:80"])
def test_offload_token_without_encryption_is_refused_except_on_loopback(url: str) -> None:
    with pytest.raises(UsageError, match="without encryption"):
        Offload(url, token="hunter2")
    assert Offload("grpc://127.0.0.1", token="hunter2").fixed_token == "hunter2"


def test_offload_certificates_without_encryption_are_refused(authority: Authority) -> None:
    with pytest.raises(UsageError, match="need TLS"):
        Offload("grpc://edge", ca=authority.certificate)


def test_offload_file_without_certificates_is_refused(tmp_path: Path, authority: Authority) -> None:
    empty, damaged = tmp_path / "empty.pem", tmp_path / "damaged.pem"
    empty.write_text("nothing")
    damaged.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(UsageError, match="holds no PEM"):
        Offload("grpcs://edge", ca=empty)
    for arguments in ({"ca": damaged}, {"certificate": (authority.certificate, damaged)}):
        with pytest.raises(UsageError, match="cannot be used"):
            Offload("grpcs://edge", **arguments).tls_context()


def test_offload_token_of_a_function_is_asked_for_again() -> None:
    tokens = iter(["first", "second"])
    offload = Offload("grpcs://edge", token=lambda: next(tokens))
    assert offload.has_changing_token
    assert [offload.fetch_token(), offload.fetch_token()] == ["first", "second"]


@pytest.mark.parametrize("token", [lambda: 1 / 0, lambda: None, lambda: "hunter2\n"])
def test_offload_function_without_a_token_is_unauthorised(token: Any) -> None:
    with pytest.raises(OffloadError, match="function token= failed") as caught:
        Offload("grpcs://edge", token=token).fetch_token()
    assert caught.value.kind == "unauthorised"
    assert "hunter2" not in str(caught.value)
