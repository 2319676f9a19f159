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
    """Energy of a call of work that took `seconds`; `uncertainty_j` is the standard uncertainty of the meter."""

    energy_j: float
    uncertainty_j: float
    seconds: float


class Meter(Protocol):
    """A power meter. If its hardware is absent or fails, it raises `MeterError`; it never returns 0 instead.

    Attributes:
        name: as in `--power`.
        rail: `board` or `core`.
        provenance: `measured`, or `estimated` where the meter applies a power model.
        interval_s: time between two different readings.
    """

    name: str
    rail: str
    provenance: str
    interval_s: float

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Run `work` and return its energy. Raises MeterError where it is unknown, and exceptions of `work`."""


class CounterMeter:
    """A meter whose hardware accumulates energy; it is read before and after the work."""

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
        """Run `work` and return its energy, see `Meter.around`."""
        begin, before_j = time.monotonic(), self._read_j()
        work()
        energy_j, seconds = self._read_j() - before_j, time.monotonic() - begin
        if energy_j < 0 and self._wraps_at_j is not None:
            energy_j += self._wraps_at_j
        if energy_j <= 0:
            raise MeterError(f"{self.name}: its counter did not move in {seconds:.2f} s")
        # The counter changes at updates only, so either reading may be one interval old.
        lag_j = energy_j * min(1.0, self.interval_s / seconds)
        return EnergyReading(energy_j, (self._step_j**2 / 6 + lag_j**2 / 6) ** 0.5, seconds)


class SampledMeter:
    """A meter that reads power; a thread samples it every `interval_s`."""

    def __init__(
        self, name: str, rail: str, read_w: Callable[[], float], *, interval_s: float, provenance: str = MEASURED
    ) -> None:
        self.name, self.rail, self.interval_s, self.provenance = name, rail, interval_s, provenance
        self._read_w = read_w

    def around(self, work: Callable[[], None]) -> EnergyReading:
        """Run `work` and return its energy, see `Meter.around`."""
        samples: list[tuple[float, float]] = []
        problems: list[Exception] = []
        done = threading.Event()

        def sample() -> None:
            try:
                while not done.is_set():
                    samples.append((time.monotonic(), self._read_w()))
                    done.wait(self.interval_s)
            except Exception as problem:  # raised below, in the thread of the caller
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
    """Integrate (seconds, watts) from `begin` to `end`, linear between samples and constant beyond them.

    The uncertainty assumes independent samples: seconds × standard deviation / √(samples).

    Raises:
        MeterError: fewer than two samples are in the window, or a power is negative or not finite.
    """
    at, power_w = (np.array(column, np.float64) for column in zip(*samples)) if samples else (np.zeros(0),) * 2
    if not np.all(np.isfinite(power_w)) or np.any(power_w < 0):
        raise MeterError(f"{name}: it returned a power that is negative or not a number")
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
