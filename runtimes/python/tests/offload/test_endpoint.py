"""Addresses of servers: what is accepted, and that refusals repeat no secrets."""

from __future__ import annotations

from typing import Any

import pytest

from eetool_runtime.errors import UsageError
from eetool_runtime.offload.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("grpcs://edge:9000", Endpoint("grpcs", "edge", 9000)),
        ("grpc://edge", Endpoint("grpc", "edge", 8001)),
        ("GRPC://Edge.Example.org/", Endpoint("grpc", "edge.example.org", 8001)),
        ("https://10.0.0.7", Endpoint("https", "10.0.0.7", 443)),
        ("http://[::1]:8080/serving/a", Endpoint("http", "::1", 8080, "/serving/a")),
    ],
)
def test_parse_endpoint_valid_url_is_parsed(url: str, expected: Endpoint) -> None:
    assert parse_endpoint(url) == expected


def test_endpoint_properties_follow_the_scheme() -> None:
    plain, secure = parse_endpoint("http://[::1]:80"), parse_endpoint("grpcs://edge")
    assert (plain.is_grpc, plain.is_encrypted, plain.is_loopback) == (False, False, True)
    assert (secure.is_grpc, secure.is_encrypted, secure.is_loopback) == (True, True, False)
    assert (plain.host_and_port, secure.host_and_port) == ("[::1]:80", "edge:8001")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:hunter2@edge:8443", "user name or a password"),
        ("grpc://hunter2@edge", "user name or a password"),
        ("https://edge/?token=hunter2", "query or a fragment"),
        ("https://edge/#hunter2", "query or a fragment"),
        ("https://edge/%68unter2", "path that cannot be used"),
        ("grpc://edge/hunter2", "path that cannot be used"),
        ("https://edge:hunter2", "no valid host"),
        ("https://[hunter2", "no valid host"),
        ("https://hunter2 x", "no valid host"),
        ("https://edge\r\nhunter2: 1", "unprintable characters"),
        ("https://" + "hunter2" * 1000, "too long"),
        ("hunter2", "scheme"),
        ("//hunter2", "scheme"),
        ("https://", "no valid host"),
        ("https://edge:99999", "no valid host"),
        ("https://edge:0", "no valid host"),
        ("ftp://edge", "'ftp'"),
        (b"https://edge", "bytes"),
        (None, "NoneType"),
    ],
)
def test_parse_endpoint_invalid_url_is_refused_without_its_secret(url: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_endpoint(url)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
