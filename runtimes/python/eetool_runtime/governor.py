"""Control of the operating point by temperature, battery charge or latency.

There is no background thread: the application calls `Governor.update` about once a second. docs/embedding.md has an
example.
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

_MIN_CALLS = 20  # for a meaningful percentile


@dataclass(frozen=True)
class Rule:
    """Limits of one reading, with hysteresis: between `tighten` and `relax` the operating point stays.

    Attributes:
        name: of the rule.
        read: returns the current value, or None where there is no sensor; the rule is then ignored.
        tighten: limit for a faster operating point. Above `relax`, high values are bad (temperature); below, low
            values are bad (charge).
        relax: limit for a more accurate operating point.
    """

    name: str
    read: Reading
    tighten: float
    relax: float

    def pressure(self) -> Optional[int]:
        """Return 1 to go faster, −1 where the model may go back, 0 to stay, None without a reading."""
        value = self.read()
        if value is None:
            return None
        sign = 1 if self.tighten > self.relax else -1
        if sign * (value - self.tighten) >= 0:
            return 1
        return -1 if sign * (value - self.relax) <= 0 else 0


class Governor:
    """Controller that moves a model between its most accurate and its fastest operating point, one step at a time.

    One rule beyond `tighten` is enough to go faster. To go back, every rule with a reading must be beyond `relax`.
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
        """Start at the operating point in use if it is one of `points`, else at the first of them.

        Args:
            model: to control.
            rules: evaluated at every update.
            points: from the most accurate to the fastest; by default all with expected figures, by their MACs.
            hold_s: minimum seconds between two moves, because temperature and percentiles react slowly.
            clock: monotonic seconds.

        Raises:
            UsageError: there are fewer than two points, one is unknown, or a rule has equal limits.
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
        """Evaluate the rules once, move at most one step, and return the operating point in use."""
        current, watch = self._model.setting
        at = self.points.index(current) if current in self.points else 0
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
        if self.points[target] != current:
            self._model.use(self.points[target], watch=watch)
            self._moved_s = now
        return self.points[target]


def latency_ms(model: Model, *, share: float = 0.9, calls: int = 100) -> Reading:
    """Return a reading of the latency quantile `share` over the last calls; None before 20 calls at this point."""

    def read() -> Optional[float]:
        recent = sorted(model.recent_ms(calls))
        return recent[int(share * (len(recent) - 1))] if len(recent) >= _MIN_CALLS else None

    return read


def temperature_c(root: Path = ROOT) -> Optional[float]:
    """Return the temperature of the hottest thermal zone in degrees Celsius, or None without one."""
    readings = [_number(path) for path in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    return max((value / 1000 for value in readings if value is not None), default=None)


def battery_percent(root: Path = ROOT) -> Optional[float]:
    """Return the lowest charge of the batteries in discharge, in percent; None without one, or on mains power."""
    charges = []
    for folder in (root / "sys/class/power_supply").glob("*"):
        if first_line(folder / "type") == "Battery" and first_line(folder / "status") == "Discharging":
            charges.append(_number(folder / "capacity"))
    return min((value for value in charges if value is not None), default=None)


def _by_cost(model: Model) -> tuple[str, ...]:
    costs = [(p.expected.mean_macs, name) for name, p in model.operating_points.items() if p.expected]
    return tuple(name for _, name in sorted(costs, key=lambda pair: -pair[0]))


def _number(path: Path) -> Optional[float]:
    try:
        return float(first_line(path) or "")
    except ValueError:
        return None
