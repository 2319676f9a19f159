"""Progress reports of long work, independent of how they are shown."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Receiver of progress: `with progress("training", total) as advance: ... advance(1)`."""

    def __call__(self, what: str, total: int) -> AbstractContextManager[Advance]:
        """Begin a block of work of `total` steps; the block calls `advance` with the number of steps done."""

    def note(self, line: str) -> None:
        """Show one line of the log."""


class Silent:
    """Progress that is not shown; the default everywhere in the library."""

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        """Ignore the steps of the block."""
        yield lambda steps: None

    def note(self, line: str) -> None:
        """Ignore the line."""


SILENT = Silent()


@contextmanager
def report_elapsed(progress: Progress, what: str, seconds: float) -> Iterator[None]:
    """Report the elapsed time of the block, one step per second, up to the expected number of `seconds`."""
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
