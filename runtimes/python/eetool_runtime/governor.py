"""Moves a model along its operating points as the device gets hot, its battery low, or its answers late.

Nothing runs by itself: the application calls `Governor.update` every second or so. docs/embedding.md has an example.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

from .errors import UsageError
from .machine import ROOT, first_line
from .model import Model
from .records import dataclass

Reading = Callable[[], Optional[float]]

_ENOUGH_CALLS = 20  # for a percentile that means something


@dataclass(frozen=True)
class Rule:
    """When to save and when to stop saving. `tighten` above `relax`: much is bad (heat); below: little is (charge).

    Between the two nothing moves: that is the hysteresis. A reading of None, where there is no sensor, has no say.
    """

    name: str
    read: Reading
    tighten: float
    relax: float

    def pressure(self) -> Optional[int]:
        """1: go faster; −1: one may go back; 0: stay; None: no reading."""
        value = self.read()
        if value is None:
            return None
        sign = 1 if self.tighten > self.relax else -1
        if sign * (value - self.tighten) >= 0:
            return 1
        return -1 if sign * (value - self.relax) <= 0 else 0


class Governor:
    """One step at a time, from the most careful operating point to the fastest, and back.

    One rule that says "tighten" is enough to go faster; to go back, every rule that has a reading must say "relax".
    """

    def __init__(
        self,
        model: Model,
        rules: Sequence[Rule],
        *,
        points: Optional[Sequence[str]] = None,
        hold_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins where the model is, or at the first of `points` where it is at none of them.

        Args:
            points: from the most careful to the fastest; by default all with a figure, by their expected MACs.
            hold_s: seconds between two moves, at least: heat and percentiles follow late.
            clock: seconds, never turned back.

        Raises:
            UsageError: there are fewer than two points, one is unknown, or a rule has no room for hysteresis.
        """
        self.points = tuple(points) if points is not None else _by_cost(model)
        unknown = [point for point in self.points if point not in model.operating_points]
        if unknown or len(self.points) < 2:
            problem = f"unknown operating point {unknown[0]!r}" if unknown else "a governor needs two operating points"
            raise UsageError(problem, f"This bundle has: {', '.join(model.operating_points)}. Name them in points=.")
        for rule in rules:
            if rule.tighten == rule.relax:
                raise UsageError(f"rule {rule.name!r}: tighten and relax must differ")
        self._model, self._rules, self._hold_s, self._clock = model, tuple(rules), hold_s, clock
        self._moved_s: Optional[float] = None
        if model.operating_point not in self.points:
            model.use(self.points[0])

    def update(self) -> str:
        """Look at the rules once, move if they say so, and return the operating point in use."""
        here, watch = self._model.setting
        at = self.points.index(here) if here in self.points else 0
        now = self._clock()
        if self._moved_s is not None and now - self._moved_s < self._hold_s:
            return self.points[at]
        pressures = [p for p in (rule.pressure() for rule in self._rules) if p is not None]
        step = 0
        if 1 in pressures:
            step = 1
        elif pressures and all(p == -1 for p in pressures):
            step = -1
        target = min(max(at + step, 0), len(self.points) - 1)
        if self.points[target] != here:
            self._model.use(self.points[target], watch=watch)
            self._moved_s = now
        return self.points[target]


def latency_ms(model: Model, *, share: float = 0.9, calls: int = 100) -> Reading:
    """Reads the latency that `share` of the last calls kept within; None until 20 were made at this point."""

    def read() -> Optional[float]:
        recent = sorted(model.recent_ms(calls))
        return recent[int(share * (len(recent) - 1))] if len(recent) >= _ENOUGH_CALLS else None

    return read


def temperature_c(root: Path = ROOT) -> Optional[float]:
    """Degrees Celsius of the hottest thermal zone, or None where the kernel knows none."""
    readings = [_number(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    known = [value / 1000 for value in readings if value is not None]
    return max(known) if known else None


def battery_percent(root: Path = ROOT) -> Optional[float]:
    """Charge of the emptiest battery that is being discharged; None without a battery, or on mains power."""
    known = []
    for folder in (root / "sys/class/power_supply").glob("*"):
        if first_line(folder / "type") == "Battery" and first_line(folder / "status") == "Discharging":
            known.append(_number(folder / "capacity"))
    return min((value for value in known if value is not None), default=None)


def _by_cost(model: Model) -> tuple[str, ...]:
    known = [(p.expected.mean_macs, name) for name, p in model.operating_points.items() if p.expected]
    return tuple(name for _, name in sorted(known, key=lambda pair: -pair[0]))


def _number(path: Path) -> Optional[float]:
    try:
        return float(first_line(path) or "")
    except ValueError:
        return None
