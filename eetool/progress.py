"""How long work reports where it is, without knowing who looks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """`with progress("training", total) as advance: ... advance(1)`. `note` is a line for the log."""

    def __call__(self, what: str, total: int) -> AbstractContextManager[Advance]:
        """A block of work of `total` steps."""

    def note(self, line: str) -> None:
        """Say one line."""


class Silent:
    """Reports nothing; the default everywhere in the library."""

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        """Do nothing with every step."""
        yield lambda steps: None

    def note(self, line: str) -> None:
        """Say nothing."""


SILENT = Silent()
