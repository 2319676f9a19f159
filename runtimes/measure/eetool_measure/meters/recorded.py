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
    """A meter that reads recorded power: `rows` of (seconds, watts) on the clock `now`.

    `rows` is read after the work, and again until it covers the window or `timeout_s` have passed, because another
    program may still be writing.
    """

    provenance = MEASURED

    def __init__(
        self,
        name: str,
        rail: str,
        rows: Callable[[], Sequence[tuple[float, float]]],
        *,
        now: Callable[[], float],
        timeout_s: float = 0.0,
    ) -> None:
        self.name, self.rail, self._rows, self._now, self._timeout_s = name, rail, rows, now, timeout_s
        at = [second for second, _ in rows()]
        self.interval_s = float(np.median(np.diff(at))) if len(at) > 1 else 1.0

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Run `work` and return its energy, see `Meter.around`."""
        begin = self._now()
        work()
        end, deadline = self._now(), time.monotonic() + self._timeout_s
        rows = self._rows()
        while (not rows or rows[-1][0] < end) and time.monotonic() < deadline:
            time.sleep(min(self.interval_s, 0.5))
            rows = self._rows()
        if not rows or rows[0][0] > begin or rows[-1][0] < end:
            span = f"from {rows[0][0]:.2f} to {rows[-1][0]:.2f} s" if rows else "nothing"
            raise MeterError(
                f"{self.name}: it holds {span}, and the work ran from {begin:.2f} to {end:.2f} s",
                "Times are in seconds: Unix time in a log, relative to the first row in a replay.",
            )
        return integrate(self.name, rows, begin, end)


def open_trace(kind: str, path: Path) -> Meter:
    """Open a CSV file `time,power_w`: a `log` in Unix time that is being written, or the `replay` of a recording."""
    if kind == "log":
        return RecordedMeter(f"log:{path.name}", BOARD, partial(read_trace, path), now=time.time, timeout_s=10.0)
    recorded, begin = read_trace(path), time.monotonic()
    first = recorded[0][0]
    return RecordedMeter(f"replay:{path.name}", BOARD, lambda: recorded, now=lambda: time.monotonic() - begin + first)


def read_trace(path: Path) -> list[tuple[float, float]]:
    """Read (seconds, watts) from a CSV file with the columns `time` and `power_w`; an incomplete last line is ignored.

    Raises:
        MeterError: the file cannot be read, lacks a column, has no rows, or times do not increase.
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
            raise MeterError(f"{at}: not a time and a power", _COLUMNS) from None
        if len(rows) > 1 and rows[-1][0] <= rows[-2][0]:
            raise MeterError(f"{path}: line {lines.line_num}: its time is not after the one before")
    if not rows:
        raise MeterError(f"{path}: holds no rows", _COLUMNS)
    return rows
