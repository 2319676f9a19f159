"""Interface of power meters, and meters by kind of reading: energy counters and sampled power."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Callable, Optional, Protocol

import numpy as np

from eetool_runtime.records import dataclass

from ..errors import MeterError

BOARD, CORE = "board", "core"  # scope of a meter: everything behind the supply, or the processor's rail alone
MEASURED, ESTIMATED = "measured", "estimated"


@dataclass(frozen=True)
class EnergyReading:
    """Energy of one piece of work of `seconds`; `uncertainty_j` is the standard uncertainty of the meter's part."""

    energy_j: float
    uncertainty_j: float
    seconds: float


class Meter(Protocol):
    """Reads the energy of a piece of work. `interval_s` is the time between two readings that differ.

    `rail` is `board` or `core`, `provenance` `measured`, or `estimated` where a power model stands in between.
    """

    name: str
    rail: str
    provenance: str
    interval_s: float

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Run `work` and say what it took. Raises MeterError where that cannot be said, and what `work` raises."""


class CounterMeter:
    """A meter whose hardware adds up the energy itself: read before and after, and nothing in between."""

    provenance = MEASURED

    def __init__(
        self,
        name: str,
        rail: str,
        read_j: Callable[[], float],
        *,
        step_j: float,
        interval_s: float,
        wraps_at_j: Optional[float] = None,
    ) -> None:
        self.name, self.rail, self.interval_s = name, rail, interval_s
        self._read_j, self._step_j, self._wraps_at_j = read_j, step_j, wraps_at_j

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """See `Meter.around`."""
        begin, before_j = time.monotonic(), self._read_j()
        work()
        energy_j, seconds = self._read_j() - before_j, time.monotonic() - begin
        if energy_j < 0 and self._wraps_at_j is not None:
            energy_j += self._wraps_at_j
        if energy_j <= 0:
            raise MeterError(f"{self.name}: its counter did not move in {seconds:.2f} s")
        # The counter stands still between two updates, so either reading may be one update old.
        late_j = energy_j * min(1.0, self.interval_s / seconds)
        return EnergyReading(energy_j, (self._step_j**2 / 6 + late_j**2 / 6) ** 0.5, seconds)


class SampledMeter:
    """A meter that tells watts: a thread reads them every `interval_s` and sleeps in between."""

    def __init__(
        self, name: str, rail: str, read_w: Callable[[], float], *, interval_s: float, provenance: str = MEASURED
    ) -> None:
        self.name, self.rail, self.interval_s, self.provenance = name, rail, interval_s, provenance
        self._read_w = read_w

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """See `Meter.around`."""
        samples: list[tuple[float, float]] = []
        problems: list[Exception] = []
        done = threading.Event()

        def sample() -> None:
            try:
                while not done.is_set():
                    samples.append((time.monotonic(), self._read_w()))
                    done.wait(self.interval_s)
            except Exception as problem:  # raised below, where the caller is
                problems.append(problem)

        thread = threading.Thread(target=sample, name=f"{self.name} meter", daemon=True)
        begin = time.monotonic()
        thread.start()
        try:
            work()
        finally:
            end = time.monotonic()
            done.set()
            thread.join()
        if problems:
            raise problems[0]
        return integrate(self.name, samples, begin, end)


def integrate(name: str, samples: Sequence[tuple[float, float]], begin: float, end: float) -> EnergyReading:
    """Energy between `begin` and `end` of (seconds, watts): straight lines between samples, level beyond them.

    The uncertainty takes the samples for independent draws of the power: seconds × deviation / √(samples).

    Raises:
        MeterError: fewer than two samples fall into the window, or one of them is no power.
    """
    at, power_w = (np.array(column, np.float64) for column in zip(*samples)) if samples else (np.zeros(0),) * 2
    if not np.all(np.isfinite(power_w)) or np.any(power_w < 0):
        raise MeterError(f"{name}: it gave a power that is negative or not a number")
    inside = (at >= begin) & (at <= end)
    count = int(inside.sum())
    if count < 2:
        raise MeterError(
            f"{name}: {count} readings in {end - begin:.2f} s are too few",
            "Measure longer at a time, with --power-seconds.",
        )
    grid = np.concatenate(([begin], at[inside], [end]))
    watts = np.interp(grid, at, power_w)
    energy_j = float(np.sum((watts[1:] + watts[:-1]) / 2 * np.diff(grid)))
    spread_w = float(np.std(power_w[inside], ddof=1))
    return EnergyReading(energy_j, (end - begin) * spread_w / count**0.5, end - begin)
