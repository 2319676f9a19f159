"""Addresses of servers: URLs without credentials."""

from __future__ import annotations

import re
from typing import Optional
from urllib.parse import urlsplit

from ..argument_checks import short_repr
from ..errors import UsageError
from ..records import dataclass

_PORTS = {"grpc": 8001, "grpcs": 8001, "http": 80, "https": 443}  # defaults: Triton's and KServe's gRPC port
_EXAMPLES = "Such as grpcs://edge:8001 or https://edge:8443."
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_MAX_URL = 2048
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")


@dataclass(frozen=True)
class Endpoint:
    """Address of a server.

    Attributes:
        scheme: `grpc`, `grpcs`, `http` or `https`.
        host: name or IP address, without brackets.
        port: of the server.
        path: that comes before `/v2` of REST; empty in most cases.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_grpc(self) -> bool:
        """True for gRPC, False for REST."""
        return self.scheme.startswith("grpc")

    @property
    def is_encrypted(self) -> bool:
        """True where the connection uses TLS."""
        return self.scheme.endswith("s")

    @property
    def is_loopback(self) -> bool:
        """True where the address is one of this machine's own."""
        return _LOOPBACK.fullmatch(self.host) is not None

    @property
    def host_and_port(self) -> str:
        """`edge:8001`, or `[::1]:8001`: what messages and statistics say of the server."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_endpoint(url: object) -> Endpoint:
    """Return the address that a URL names.

    Raises:
        UsageError: it is no such URL, or it has credentials. The message does not repeat what may be a secret.
    """
    if not isinstance(url, str) or len(url) > _MAX_URL or not url.isprintable():
        raise UsageError(f"the URL of a server must be a string, not {_type(url)}", _EXAMPLES)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _PORTS:
        shown = short_repr(scheme) if separator and scheme.isalnum() else "none"
        raise UsageError(
            f"the URL of a server begins with {', '.join(_PORTS)}; this one has the scheme {shown}", _EXAMPLES
        )
    if "@" in rest:
        raise UsageError(
            "the URL of a server holds a user name or a password, which end in logs",
            "Leave them out of the URL, and pass token= or certificate=.",
        )
    if "?" in rest or "#" in rest:
        raise UsageError("the URL of a server has a query or a fragment, which this protocol has not", _EXAMPLES)
    host, port, path = _parts(f"//{rest}")
    if host is None or _HOST.fullmatch(host) is None:
        raise UsageError("the URL of a server names no valid host", _EXAMPLES)
    scheme, path = scheme.lower(), path.rstrip("/")
    if _PATH.fullmatch(path) is None or (path and scheme.startswith("grpc")):
        raise UsageError("the URL of a server has a path that cannot be used; gRPC has none", _EXAMPLES)
    return Endpoint(scheme, host, _PORTS[scheme] if port is None else port, path)


def _parts(text: str) -> tuple[Optional[str], Optional[int], str]:
    """Return host, port and path; the host is None where the text is no address."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # unmatched brackets, or a port that is no number below 65,536
        return None, None, ""
    return (None if port == 0 else parts.hostname), port, parts.path


def _type(value: object) -> str:
    return "one with unprintable characters, or too long" if isinstance(value, str) else type(value).__name__
