"""Power from CSV files: a log that another program is writing, or the replay of a recording."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable

import numpy as np

from ..errors import MeterError
from .base import BOARD, MEASURED, EnergyReading, Meter, integrate

_COLUMNS = "The first line is `time,power_w`: seconds, watts."


class RecordedMeter:
    """Power that was recorded: `rows` of (seconds, watts) on the clock `now`, or reckoned from the first window on.

    `rows` is called after the work, and again until it reaches the end of the window or `patience_s` have passed, so
    that another program may still be writing.
    """

    provenance = MEASURED

    def __init__(
        self,
        name: str,
        rail: str,
        rows: Callable[[], Sequence[tuple[float, float]]],
        *,
        now: Callable[[], float],
        patience_s: float = 0.0,
    ) -> None:
        self.name, self.rail, self._rows, self._now, self._patience_s = name, rail, rows, now, patience_s
        at = [second for second, _ in rows()]
        self.interval_s = float(np.median(np.diff(at))) if len(at) > 1 else 1.0

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """See `Meter.around`."""
        begin = self._now()
        work()
        end, patience = self._now(), time.monotonic() + self._patience_s
        rows = self._rows()
        while (not rows or rows[-1][0] < end) and time.monotonic() < patience:
            time.sleep(min(self.interval_s, 0.5))
            rows = self._rows()
        if not rows or rows[0][0] > begin or rows[-1][0] < end:
            span = f"from {rows[0][0]:.2f} to {rows[-1][0]:.2f} s" if rows else "nothing"
            raise MeterError(
                f"{self.name}: it holds {span}, and the work ran from {begin:.2f} to {end:.2f} s",
                "Time is in seconds: of a log Unix time, of a replay from its first row on.",
            )
        return integrate(self.name, rows, begin, end)


def open_trace(kind: str, path: Path) -> Meter:
    """A CSV file `time,power_w`: of a meter that writes now, in Unix time, or of one that wrote once."""
    if kind == "log":
        return RecordedMeter(f"log:{path.name}", BOARD, partial(read_trace, path), now=time.time, patience_s=10.0)
    recorded, begin = read_trace(path), time.monotonic()
    first = recorded[0][0]
    return RecordedMeter(f"replay:{path.name}", BOARD, lambda: recorded, now=lambda: time.monotonic() - begin + first)


def read_trace(path: Path) -> list[tuple[float, float]]:
    """Rows (seconds, watts) of a CSV file with the columns `time` and `power_w`; a last line in the making is left out.

    Raises:
        MeterError: the file cannot be read, has no such columns or no row, or a row is not two numbers in order.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeterError(f"{path}: cannot be read: {error}") from None
    lines = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    rows: list[tuple[float, float]] = []
    for line in lines:
        try:
            rows.append((float(line["time"]), float(line["power_w"])))
        except (KeyError, TypeError, ValueError):
            at = f"{path}: line {lines.line_num}"
            raise MeterError(
                f"{at}: not a time and a power", "The first line is `time,power_w`: seconds, watts."
            ) from None
        if len(rows) > 1 and rows[-1][0] <= rows[-2][0]:
            raise MeterError(f"{path}: line {lines.line_num}: its time is not after the one before")
    if not rows:
        raise MeterError(f"{path}: holds no rows", "The first line is `time,power_w`: seconds, watts.")
    return rows
