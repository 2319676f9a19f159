"""Progress of work with a known duration."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from eetool.progress import Advance, report_elapsed


class Counted:
    """Progress that records blocks and steps."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.steps, self.stepped = 0, threading.Event()

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.begun.append((what, total))
        yield self._add

    def _add(self, steps: int) -> None:
        self.steps += steps
        self.stepped.set()

    def note(self, line: str) -> None:
        raise AssertionError(line)


def test_report_elapsed_long_block_advances_by_seconds() -> None:
    counted, threads = Counted(), threading.active_count()
    with report_elapsed(counted, "waiting", 30.4):
        assert counted.stepped.wait(300)
    assert counted.begun == [("waiting", 30)]
    assert 1 <= counted.steps <= 30
    assert threading.active_count() == threads


def test_report_elapsed_short_block_does_not_advance() -> None:
    counted = Counted()
    with report_elapsed(counted, "waiting", 0):
        pass
    assert (counted.begun, counted.steps) == ([("waiting", 1)], 0)
