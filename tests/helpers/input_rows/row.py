"""One row of the table of inputs: what is given, how it is made, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.progress import Silent

ACCEPTED, CONVERTED, REFUSED = "accepted", "converted", "refused"


@dataclass(frozen=True)
class InputRow:
    """A kind of input and its outcome, for the page and for the test alike.

    Attributes:
        given: what the user gives.
        outcome: accepted, converted or refused.
        comes: what it becomes, or why it is refused.
        read: makes it in an empty folder and reads it as the commands do; a result, and lines that are said.
        expected: the result; of a refusal, words of the message.
        said: words of a line that is said, for what the user should know.
    """

    given: str
    outcome: str
    comes: str
    read: Callable[[Path], tuple[Any, list[str]]]
    expected: Any
    said: str = ""


class Listener(Silent):
    """Progress that keeps the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def read_source(name: str, show: Callable[[Source], Any]) -> tuple[Any, list[str]]:
    """Return what `show` makes of the source called `name`, and what was said about it."""
    listener = Listener()
    return show(load_source(name, listener)), listener.lines
