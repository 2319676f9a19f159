"""Options of commands that ask a model server, and the settings of the runtime that they become."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eetool.cli.options import PATH, FiniteRange

if TYPE_CHECKING:
    from eetool_runtime.offload import Offload

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_MS = 40.0
_TOKEN_VARIABLE = "EETOOL_OFFLOAD_TOKEN"
_URL_HELP = "grpc://, grpcs://, http:// or https://, host and port; without credentials."


@dataclass(frozen=True)
class ServerRequest:
    """Options of a server.

    Attributes:
        url: None where none was given.
        timeout_ms: of every call.
        fallback: `local` or `best`.
        token_file: file with the bearer token; by default the environment variable.
        ca: certificates in PEM that the server's is checked with.
        certificate: of the client, in PEM.
        key: of the client's certificate.
    """

    url: str | None
    timeout_ms: float | None
    fallback: str | None
    token_file: Path | None
    ca: Path | None
    certificate: Path | None
    key: Path | None

    def offload(self, option: str, timeout_ms: float = TIMEOUT_MS) -> "Offload | None":
        """Return the settings of the runtime; None without a URL.

        Args:
            option: name of the option of the URL, for messages.
            timeout_ms: time limit of a call where none was given.

        Raises:
            UsageError: the URL is none, or holds credentials; or there are options of a server without one.
            MissingError: this runtime has no client for such a URL.
        """
        from eetool.errors import UsageError

        if self.url is None:
            given = [name for name in list(vars(self))[1:] if getattr(self, name) is not None]
            if given:
                name = given[0].replace("_", "-")
                raise UsageError(f"--offload-{name} is of a server", f"Give {option} URL as well.")
            return None
        if (self.certificate is None) != (self.key is None):
            raise UsageError(
                "a certificate of the client needs its key", "Give --offload-certificate and --offload-key."
            )
        from eetool_runtime.offload import Offload

        pair = None if self.certificate is None or self.key is None else (self.certificate, self.key)
        return Offload(
            self.url,
            timeout_ms=self.timeout_ms or timeout_ms,
            fallback=self.fallback or "local",
            token=self._token(),
            ca=self.ca,
            certificate=pair,
        )

    def _token(self) -> str | None:
        import os

        from eetool.errors import ArtefactError

        if self.token_file is None:
            return os.environ.get(_TOKEN_VARIABLE) or None
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ArtefactError(f"{self.token_file}: the token cannot be read") from None


def server_options(option: str, help_text: str, fallback: bool = True) -> Callable[[F], F]:
    """Return the option `option` URL with those of timeout, fallback and credentials."""
    options = [
        click.option(option, "offload_url", default=None, metavar="URL", help=f"{help_text} {_URL_HELP}"),
        click.option(
            "--offload-timeout-ms", type=FiniteRange(0, min_open=True), default=None, help="Time limit of a call."
        ),
    ]
    if fallback:
        choice = click.Choice(["local", "best"])
        text = "Where no answer comes: run the rest here, or answer with the best exit so far.  [local]"
        options.append(click.option("--offload-fallback", type=choice, default=None, help=text))
    options += [
        click.option(
            "--offload-token-file", type=PATH, default=None, help=f"File with a bearer token.  [${_TOKEN_VARIABLE}]"
        ),
        click.option("--offload-ca", type=PATH, default=None, help="Certificates to check the server's with, in PEM."),
        click.option("--offload-certificate", type=PATH, default=None, help="Certificate of this client, in PEM."),
        click.option("--offload-key", type=PATH, default=None, help="Its key, in PEM."),
    ]

    def add(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return add


def server_request(request: Any) -> ServerRequest:
    """Return the options of a server from those of a command."""
    return ServerRequest(
        request.offload_url,
        request.offload_timeout_ms,
        getattr(request, "offload_fallback", None),
        request.offload_token_file,
        request.offload_ca,
        request.offload_certificate,
        request.offload_key,
    )
