"""How long work reports where it is, without knowing who looks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
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


@contextmanager
def report_elapsed(progress: Progress, what: str, seconds: float) -> Iterator[None]:
    """A block of work that takes so many seconds by itself: each of them is a step."""
    total, done = max(1, round(seconds)), Event()
    with progress(what, total) as advance:

        def tick() -> None:
            for _ in range(total):
                if done.wait(1):
                    return
                advance(1)

        clock = Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield
        finally:
            done.set()
            clock.join()
