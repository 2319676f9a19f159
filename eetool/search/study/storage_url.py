"""The address of a storage, as it may be shown: without anything that could be a password."""

import re
from typing import Any
from urllib.parse import unquote_plus

from eetool.errors import UsageError

_PLAIN = re.compile(r"[\w.-]+")
_HINT = "Such as postgresql://user@host/name."


class Address:
    """A URL for SQLAlchemy. `str()` gives what may be shown of it; every message about a storage goes through here.

    A password can be written in many wrong places, where it is parsed as a host, a port or a name. So only plain parts
    are shown, a query never, and nothing at all of what does not parse.

    Raises:
        UsageError: it is no URL of a database.
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
        self._shown = _shown(self.url, self.is_sqlite)
        shown = set(_pieces(self._shown))
        self._hidden = [piece for piece in _pieces(text) if piece not in shown]

    def __str__(self) -> str:
        return self._shown

    @property
    def full(self) -> str:
        """The whole URL, for the driver alone."""
        return self.url.render_as_string(hide_password=False)

    def reason(self, error: BaseException) -> str:
        """The first line of an error, or no more than its class where it could quote something hidden."""
        line = (str(error).strip().splitlines() or [""])[0]
        told = line and not any(piece in line for piece in self._hidden)
        return line if told else type(error).__name__


def _shown(url: Any, is_sqlite: bool) -> str:
    """The scheme, and the parts behind it where all of them are plain."""
    scheme = url.drivername.partition("+")[0]
    parts = [url.username, url.host, *([] if is_sqlite else [url.database])]
    if not all(part is None or _PLAIN.fullmatch(part) for part in parts):
        return f"{scheme}://…"
    return str(url.set(drivername=scheme, query={}).render_as_string(hide_password=True))


def _pieces(text: str) -> list[str]:
    """Texts between the separators of a URL, as written and as meant."""
    found = re.split(r"[:/@?&=\s+#;,]", text) + re.split(r"[:/@?&=\s#;,]", unquote_plus(text))
    return [piece for piece in found if piece]
