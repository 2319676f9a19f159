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

_FIRST_SECONDS, _MOST_SECONDS = 30, 600  # between two lines of one block of work; each takes twice as long as before
_LEAST, _WHOLE_FROM = 0.1, 10  # steps per second that are shown, and those without a decimal


class Pace:
    """Steps of a block of work, counted since it began."""

    def __init__(self) -> None:
        self._begin, self.done = monotonic(), 0

    def add(self, steps: int) -> None:
        """Count steps."""
        self.done += steps

    @property
    def seconds(self) -> float:
        """Seconds since the block began."""
        return monotonic() - self._begin

    def __str__(self) -> str:
        """Return the steps per second, such as `38/s`; they are examples where a network runs. Empty for long steps."""
        rate = self.done / max(self.seconds, 1e-9)
        if rate < _LEAST:
            return ""
        return f"{rate:.0f}/s" if rate >= _WHOLE_FROM else f"{rate:.1f}/s"

    def after(self, text: str) -> str:
        """Return `text` with the steps per second behind it, where there are any."""
        return ", ".join(filter(None, (text, str(self))))


class TerminalProgress:
    """Progress bars with the remaining time and the steps per second on a terminal, lines elsewhere; all on stderr.

    Off a terminal, a block of work that takes longer than half a minute says how far it is, each time after twice as
    long, and at its end how fast it was. --quiet turns everything off. --verbose adds a line with the duration of each
    block of work.

    Args:
        stages: off a terminal, also say when a block of work begins.
    """

    def __init__(self, stages: bool = False) -> None:
        self._loudness, self._stages = loudness(), stages

    @contextmanager
    def __call__(self, what: str, total: int) -> "Iterator[Advance]":
        pace = Pace()
        with self._bar(what, total, pace) as advance:
            yield advance
        if self._loudness == VERBOSE:
            say(pace.after(f"{what}: {total} in {pace.seconds:.1f} s"))

    @contextmanager
    def _bar(self, what: str, total: int, pace: Pace) -> "Iterator[Advance]":
        if self._loudness == QUIET:
            yield pace.add
            return
        if not sys.stderr.isatty():
            yield self._said(what, total, pace)
            if pace.seconds >= _FIRST_SECONDS and self._loudness != VERBOSE:
                say(pace.after(f"{what}: {total} in {pace.seconds:.0f} s"))
            return
        from rich import progress
        from rich.markup import escape

        columns = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[pace]}"),
            progress.TimeRemainingColumn(),
        ]
        console = progress.Console(stderr=True)  # type: ignore[attr-defined]
        with progress.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(escape(legible(what, sys.stderr)), total=total, pace="")

            def advance(steps: int) -> None:
                pace.add(steps)
                bar.update(task, advance=steps, pace=str(pace))

            yield advance

    def _said(self, what: str, total: int, pace: Pace) -> "Advance":
        if self._stages:
            say(f"{what}: {counted(total, 'step')}")
        wait = next_line = float(_FIRST_SECONDS)

        def advance(steps: int) -> None:
            nonlocal wait, next_line
            pace.add(steps)
            if pace.seconds >= next_line and pace.done < total:
                wait = min(2 * wait, _MOST_SECONDS)
                next_line = pace.seconds + wait
                say(pace.after(f"{what}: {pace.done} of {total}"))

        return advance

    def note(self, line: str) -> None:
        if self._loudness != QUIET:
            say(line)
