"""Progress bars and notes on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from eetool.cli.output import QUIET, VERBOSE, loudness, say
from eetool.cli.streams import legible
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.progress import Advance

_SECONDS = 30  # between two lines of one block of work


class TerminalProgress:
    """Progress bars with the remaining time on a terminal, notes elsewhere; all on stderr.

    --quiet turns both off. --verbose adds a line with the duration of each block of work.

    Args:
        stages: off a terminal, say when a block of work begins, and every half minute how far it is.
    """

    def __init__(self, stages: bool = False) -> None:
        self._loudness, self._stages = loudness(), stages

    @contextmanager
    def __call__(self, what: str, total: int) -> "Iterator[Advance]":
        begin = monotonic()
        with self._bar(what, total) as advance:
            yield advance
        if self._loudness == VERBOSE:
            say(f"{what}: {total} in {monotonic() - begin:.1f} s")

    @contextmanager
    def _bar(self, what: str, total: int) -> "Iterator[Advance]":
        if self._loudness == QUIET or not sys.stderr.isatty():
            yield self._said(what, total) if self._stages and self._loudness != QUIET else lambda steps: None
            return
        from rich import progress
        from rich.markup import escape

        columns = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
        ]
        console = progress.Console(stderr=True)  # type: ignore[attr-defined]
        with progress.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(escape(legible(what, sys.stderr)), total=total)
            yield lambda steps: bar.advance(task, steps)

    def _said(self, what: str, total: int) -> "Advance":
        say(f"{what}: {counted(total, 'step')}")
        done, last = 0, monotonic()

        def advance(steps: int) -> None:
            nonlocal done, last
            done += steps
            if monotonic() - last >= _SECONDS and done < total:
                last = monotonic()
                say(f"{what}: {done} of {total}")

        return advance

    def note(self, line: str) -> None:
        if self._loudness != QUIET:
            say(line)
