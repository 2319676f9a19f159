"""What every command owes to whoever gave it something wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

Refused = Callable[..., None]


@pytest.fixture
def names() -> Callable[[Path], list[str]]:
    """What is in a folder, hidden files too."""
    return lambda folder: sorted(path.name for path in folder.iterdir())


@pytest.fixture
def refused(cli: Callable[..., object]) -> Refused:
    """`refused(code, "words", "train", …)`: the command ends with `code` and says so, to people and to programs."""

    def check(code: int, words: str, *arguments: object) -> None:
        told = cli(*arguments)
        assert told.code == code, told
        assert told.stdout == ""
        assert told.stderr.splitlines()[-2 if "\n       " in told.stderr else -1].startswith(("error: ", "  "))
        assert words in told.stderr

        returned = cli(*arguments, "--json")
        assert returned.code == code, returned
        error = returned.document.pop("error")
        assert set(error) == {"code", "message", "hint"}
        assert error["code"] == code
        assert words in error["message"]
        assert returned.document["ok"] is False
        assert returned.document["command"] == arguments[0]

    return check
