"""Settings of a server that computes the last exits: `Offload`, the argument of `eetool_runtime.load`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional, Union

from ..argument_checks import as_float, short_repr
from ..errors import UsageError
from .endpoint import Endpoint, parse_endpoint
from .errors import UNAUTHORISED, ServerRefused

if TYPE_CHECKING:
    import ssl

Token = Union[str, Callable[[], str]]
PathLike = Union[str, "os.PathLike[str]"]

LOCAL, BEST = FALLBACKS = ("local", "best")
_MAX_TIMEOUT_MS = 3_600_000.0
_MAX_PEM_BYTES = 1 << 20
_MAX_TOKEN = 8192


class Offload:
    """Server that computes what lies behind an exit, and what becomes of an input that it does not answer.

    Attributes:
        endpoint: address of the server.
        timeout_ms: budget of one attempt, from the end of the device's part to the checked reply.
        fallback: `local` or `best`.
        authorities: file of certificates in PEM that the server's is checked with; None for the default ones.
        certificate: files of the client's certificate chain and key in PEM, or None.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: float = 40.0,
        fallback: str = LOCAL,
        token: Optional[Token] = None,
        ca: Optional[PathLike] = None,
        certificate: Optional[tuple[PathLike, PathLike]] = None,
    ) -> None:
        """Check and keep the settings; nothing is connected.

        Args:
            url: `grpc://`, `grpcs://`, `http://` or `https://`, a host, and optionally a port. With `s`, TLS is used,
                and the certificate must be for this host. Credentials in it are refused.
            timeout_ms: budget of one attempt, in milliseconds.
            fallback: after a failed attempt, `local` runs the rest on the device, and `best` answers with the deepest
                exit so far (`gated=False`).
            token: bearer token, or a function that returns one: it is called outside of model calls, before the
                connection is made, and again after failures. Tokens are only sent with TLS, or to this machine itself.
            ca: file of certificates in PEM that the server's certificate is checked with; by default those of the
                system over REST, and of the library grpcio over gRPC.
            certificate: files of the client's certificate chain and of its key, in PEM.

        Raises:
            UsageError: an argument is invalid, or a file cannot be read.
        """
        self.endpoint: Endpoint = parse_endpoint(url)
        timeout = as_float(timeout_ms)
        if timeout is None or not 0 < timeout <= _MAX_TIMEOUT_MS:
            raise UsageError(f"timeout_ms must lie in (0, {_MAX_TIMEOUT_MS:g}], not {short_repr(timeout_ms)}")
        self.timeout_ms = timeout
        if not isinstance(fallback, str) or fallback not in FALLBACKS:
            raise UsageError(f"unknown fallback {short_repr(fallback)}", f"Known: {', '.join(FALLBACKS)}.")
        self.fallback = fallback
        encrypted = self.endpoint.is_encrypted
        if token is not None and not encrypted and not self.endpoint.is_loopback:
            raise UsageError("a token would be sent without encryption", "Use grpcs:// or https://.")
        if (ca is not None or certificate is not None) and not encrypted:
            raise UsageError("ca= and certificate= need TLS", "Use grpcs:// or https://.")
        self._token = token
        if isinstance(token, str):
            check_token(token)
        elif token is not None and not callable(token):
            raise UsageError(f"token must be a string or a function, not {type(token).__name__}")
        self.authorities = None if ca is None else _pem(ca, "ca")
        self.certificate = None if certificate is None else _pair(certificate)

    @property
    def fixed_token(self) -> Optional[str]:
        """The token that never changes, or None."""
        return self._token if isinstance(self._token, str) else None

    @property
    def has_changing_token(self) -> bool:
        """True where a function of the application returns the token."""
        return callable(self._token)

    def fetch_token(self) -> Optional[str]:
        """Return the token to send; raises ServerRefused, without the token, where the function for it fails."""
        if self._token is None or isinstance(self._token, str):
            return self._token
        try:
            return check_token(self._token())
        except Exception as error:  # code of the application
            raise ServerRefused(UNAUTHORISED, f"the function token= failed: {type(error).__name__}") from error

    def tls_context(self) -> ssl.SSLContext:
        """Return settings of TLS, which verify the certificate of the server and its name.

        Raises:
            UsageError: a file of certificates or keys is invalid.
        """
        import ssl  # slow to import, and without TLS not needed

        try:
            context = ssl.create_default_context(cafile=None if self.authorities is None else str(self.authorities))
            if self.certificate is not None:
                chain, key = self.certificate
                context.load_cert_chain(chain, key, password=b"")  # never asked for on a terminal
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not valid PEM"
            raise UsageError(
                f"ca= or certificate= cannot be used: {reason}", "Keys must not have a password."
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def __repr__(self) -> str:
        return (
            f"Offload({self.endpoint.scheme}://{self.endpoint.host_and_port}, timeout_ms={self.timeout_ms:g}, "
            f"fallback={self.fallback!r})"
        )


def check_token(token: object) -> str:
    """Return a token that can be sent in a header; raises UsageError, without the token, where it cannot."""
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("the token must be a string of printable ASCII characters without blanks")
    if not 0 < len(token) <= _MAX_TOKEN:
        raise UsageError(f"the token must have 1 to {_MAX_TOKEN} characters, not {len(token)}")
    return token


def _pair(certificate: object) -> tuple[Path, Path]:
    if not isinstance(certificate, (tuple, list)) or len(certificate) != 2:
        raise UsageError("certificate must be a pair of files: certificate chain and key")
    return _pem(certificate[0], "certificate"), _pem(certificate[1], "certificate")


def _pem(path: PathLike, what: str) -> Path:
    """Return the path of a PEM file that can be read."""
    try:
        file = Path(path)
        with file.open("rb") as opened:
            data = opened.read(_MAX_PEM_BYTES + 1)
    except TypeError:
        raise UsageError(f"{what} must be a path, not {type(path).__name__}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise UsageError(f"{what}: {short_repr(str(path))} cannot be read: {reason}") from None
    if b"-----BEGIN " not in data or len(data) > _MAX_PEM_BYTES:
        raise UsageError(f"{what}: {file} holds no PEM", "PEM files have a line `-----BEGIN …-----`.")
    return file
