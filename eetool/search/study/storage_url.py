"""URL of a storage in a form that may be shown, without anything that could be a password."""

import re
from typing import Any
from urllib.parse import unquote_plus

from eetool.errors import UsageError

_PLAIN = re.compile(r"[\w.-]+")
_HINT = "Such as postgresql://user@host/name."
PROXY_SCHEME = "grpc"


class StorageUrl:
    """A URL for SQLAlchemy, or of a storage proxy; `str()` returns the parts of it that messages may show.

    A password in a wrong place is parsed as a host, a port or a name. So only plain parts are shown. A query is never
    shown, nor any part of a URL that does not parse.

    Raises:
        UsageError: it is not the URL of a database.
    """

    def __init__(self, text: str) -> None:
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            self.url = make_url(text)
        except (ArgumentError, ValueError):  # their messages quote the text
            raise UsageError("--storage is not the URL of a database", _HINT) from None
        if self.url.drivername in ("postgresql", "postgres"):
            self.url = self.url.set(drivername="postgresql+psycopg")
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.is_proxy = self.url.drivername == PROXY_SCHEME
        self._shown = _printable(self.url, self.is_sqlite)
        shown = set(_words(self._shown))
        self._hidden = [word for word in _words(text) if word not in shown]

    def __str__(self) -> str:
        return self._shown

    @property
    def full(self) -> str:
        """The whole URL; only for the driver."""
        return self.url.render_as_string(hide_password=False)

    def reason(self, error: BaseException) -> str:
        """Return the first line of an error, or only its class where the line could quote a hidden part."""
        line = (str(error).strip().splitlines() or [""])[0]
        printable = line and not any(word in line for word in self._hidden)
        return line if printable else type(error).__name__


def _printable(url: Any, is_sqlite: bool) -> str:
    """Return the scheme, and the parts after it where all of them are plain."""
    scheme = url.drivername.partition("+")[0]
    if scheme == PROXY_SCHEME:
        url = type(url).create(scheme, host=url.host, port=url.port)  # a proxy has no more, so the rest may be anything
    parts = [url.username, url.host, *([] if is_sqlite else [url.database])]
    if not all(part is None or _PLAIN.fullmatch(part) for part in parts):
        return f"{scheme}://…"
    return str(url.set(drivername=scheme, query={}).render_as_string(hide_password=True))


def _words(text: str) -> list[str]:
    """Return the texts between the separators of a URL, as written and decoded."""
    words = re.split(r"[:/@?&=\s+#;,]", text) + re.split(r"[:/@?&=\s#;,]", unquote_plus(text))
    return [word for word in words if word]
