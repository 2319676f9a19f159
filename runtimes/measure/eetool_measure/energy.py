"""Energy protocol: long blocks of one subject each, in random order, with an idle block in every round.

Power meters are much slower than a network. A subject is therefore called in a closed loop for seconds, and its energy
per inference is the energy of the block divided by its calls. `docs/measuring.md` explains the protocol.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np

from eetool_runtime.errors import UsageError
from eetool_runtime.records import dataclass

from .meters.base import BOARD, CORE, ESTIMATED, EnergyReading, Meter
from .meters.registry import find_meter
from .results import COMPONENT, EXIT, FULL, REFERENCE, EnergyFigure, EnergyTimes, Key, ThreadTimes
from .timing import Subject, without_garbage_collection

NET, GROSS = "net", "gross"
WINDOWS = 5
_MIN_READINGS = 10  # per window
_MIN_WINDOW_S = 0.5
_MAX_CI95_SHARE = 0.5  # a figure whose 95 % interval is wider on either side is left null
# Student's t for 95 %, by degrees of freedom.
_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


@dataclass(frozen=True)
class EnergyMeter:
    """Source of energy figures: a meter, or the power draw that the user gives.

    Attributes:
        meter: None for an estimate from `watts`.
        watts: power draw of the board.
        window_s: length of a measuring window; by default ten readings.
        scope: `net` subtracts idle power, `gross` does not.
    """

    meter: Optional[Meter]
    watts: Optional[float] = None
    window_s: Optional[float] = None
    scope: str = NET

    @staticmethod
    def from_options(
        meter: Optional[str], watts: Optional[float], window_s: Optional[float] = None, scope: str = NET
    ) -> Optional[EnergyMeter]:
        """Make it from command-line options; return None where neither a meter nor watts are given.

        Raises:
            UsageError: both are given, or a number is out of range.
            MeterError: the meter is not available.
        """
        if meter is not None and watts is not None:
            raise UsageError("--power measures and --watts estimates: give one of them")
        for name, value in (("--watts", watts), ("--power-seconds", window_s)):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be a positive number, not {value}")
        if meter not in (None, "none"):
            return EnergyMeter(find_meter(meter), None, window_s, scope)
        return EnergyMeter(None, watts) if watts is not None else None

    def energy(self, subjects: Mapping[Key, Subject], times: ThreadTimes, seed: int) -> EnergyTimes:
        """Measure the energy of `subjects`, or estimate it from their latencies. Raises as `measure_energy`."""
        if self.meter is None:
            return estimate_energy(times, self.watts or 0.0)
        return measure_energy(
            subjects, self.meter, threads=times.threads, window_s=self.window_s, scope=self.scope, seed=seed
        )


def measure_energy(
    subjects: Mapping[Key, Subject],
    meter: Meter,
    *,
    threads: int,
    windows: int = WINDOWS,
    window_s: Optional[float] = None,
    scope: str = NET,
    seed: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> EnergyTimes:
    """Measure the energy per call of every subject, each in `windows` blocks of `window_s`.

    By default a block lasts ten readings of the meter, at least 0.5 s.

    Raises:
        UsageError: fewer than two windows, or a gross scope with a meter of the processor's rail alone.
        MeterError: the meter failed.
    """
    if windows < 2:
        raise UsageError("energy needs at least two windows to estimate its variance")
    if (meter.rail, scope) == (CORE, GROSS):
        raise UsageError(f"{meter.name} measures the processor's rail alone, and core figures are net")
    net = scope == NET
    length = window_s if window_s is not None else max(_MIN_WINDOW_S, _MIN_READINGS * meter.interval_s)
    order, shuffle = list(subjects), random.Random(seed).shuffle
    blocks: dict[Key, list[tuple[float, float]]] = {key: [] for key in order}
    idle_w = []
    with without_garbage_collection():
        for subject in subjects.values():
            _loop(subject, length / 10)()
        for _ in range(windows):
            idle = meter.around(lambda: sleep(length)) if net else EnergyReading(0.0, 0.0, 1.0)
            idle_w.append(idle.energy_j / idle.seconds)
            shuffle(order)
            for key in order:
                blocks[key].append(_per_call(subjects[key], meter, length, idle))
    figures = {key: energy_figure(np.array(rows)) for key, rows in blocks.items()}
    watts = float(np.mean(idle_w)) if net else None
    return _by_kind(
        figures,
        meter=meter.name,
        scope=f"{meter.rail}_{scope}",
        provenance=meter.provenance,
        threads=threads,
        idle_w=watts,
        window_s=length,
        windows=windows,
    )


def estimate_energy(times: ThreadTimes, power_w: float) -> EnergyTimes:
    """Estimate the energy of a board that draws `power_w` under load: latency times power.

    Raises:
        UsageError: `power_w` is not a positive number.
    """
    if not 0 < power_w < float("inf"):
        raise UsageError(f"watts must be a positive number, not {power_w}")

    def estimate(median_ms: float) -> EnergyFigure:
        return EnergyFigure(power_w * median_ms, None)

    figures = {(COMPONENT, c.name): estimate(c.latency_ms.median) for c in times.components}
    figures.update({(EXIT, str(c.exit)): estimate(c.latency_ms.median) for c in times.cascade})
    figures[FULL] = estimate(times.full.median)
    references = {"unsplit": times.references.unsplit, "all_exits": times.references.all_exits}
    figures.update({(REFERENCE, name): estimate(ms.median) for name, ms in references.items() if ms is not None})
    return _by_kind(
        figures,
        meter=f"{power_w:g} W",
        scope=f"{BOARD}_{GROSS}",
        provenance=ESTIMATED,
        threads=times.threads,
        idle_w=None,
        window_s=None,
        windows=0,
    )


def energy_figure(windows_mj: np.ndarray) -> EnergyFigure:
    """Return one figure from (windows, 2) millijoules per call and their standard uncertainties.

    The variance of the mean is the variance between windows plus that of the meter. The first includes part of the
    second, so the interval is conservative.
    """
    values, uncertainties = windows_mj[:, 0], windows_mj[:, 1]
    mean, count = float(np.mean(values)), len(values)
    variance = (float(np.var(values, ddof=1)) + float(np.mean(uncertainties**2))) / count
    half = (_T95[count - 2] if count - 2 < len(_T95) else 1.96) * variance**0.5
    return EnergyFigure(mean if half <= _MAX_CI95_SHARE * mean else None, (mean - half, mean + half))


def _per_call(subject: Subject, meter: Meter, seconds: float, idle: EnergyReading) -> tuple[float, float]:
    """Return millijoules per call, idle energy subtracted, and their standard uncertainty."""
    calls = [0]
    block = meter.around(_loop(subject, seconds, calls))
    idle_j = idle.energy_j / idle.seconds * block.seconds
    idle_u = idle.uncertainty_j / idle.seconds * block.seconds
    uncertainty_j = (block.uncertainty_j**2 + idle_u**2) ** 0.5
    return (block.energy_j - idle_j) / calls[0] * 1e3, uncertainty_j / calls[0] * 1e3


def _loop(subject: Subject, seconds: float, calls: Optional[list[int]] = None) -> Callable[[], None]:
    def work() -> None:
        number, end = 0, time.monotonic() + seconds
        while number == 0 or time.monotonic() < end:
            subject(number)
            number += 1
        if calls is not None:
            calls[0] = number

    return work


def _by_kind(figures: Mapping[Key, EnergyFigure], **head: Any) -> EnergyTimes:
    def of(kind: str) -> dict[str, EnergyFigure]:
        return {name: figure for (of_kind, name), figure in figures.items() if of_kind == kind}

    exits = of(EXIT)
    cascade = tuple(exits[str(index)] for index in range(len(exits)))
    return EnergyTimes(components=of(COMPONENT), cascade=cascade, full=figures[FULL], references=of(REFERENCE), **head)
