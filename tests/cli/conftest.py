"""Fixtures for commands that refuse their arguments."""

from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., None]


@pytest.fixture
def names() -> Callable[[Path], list[str]]:
    """Names in a folder, hidden files included."""
    return lambda folder: sorted(path.name for path in folder.iterdir())


@pytest.fixture
def refused(cli: Callable[..., object]) -> Refused:
    """`refused(code, "words", "train", …)`: the command exits with `code` and reports it, as text and as JSON."""

    def check(code: int, words: str, *arguments: object) -> None:
        result = cli(*arguments)
        assert result.code == code, result
        assert result.stdout == ""
        assert result.stderr.splitlines()[-2 if "\n       " in result.stderr else -1].startswith(("error: ", "  "))
        assert words in result.stderr

        returned = cli(*arguments, "--json")
        assert returned.code == code, returned
        error = returned.document.pop("error")
        assert set(error) == {"code", "message", "hint"}
        assert error["code"] == code
        assert words in error["message"]
        assert returned.document["ok"] is False
        assert returned.document["command"] == arguments[0]

    return check
