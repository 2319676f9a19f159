"""Where the time goes: every component by what it takes, and by what it adds to the mean input."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import FULL, ReportPoint, fitting_profile
from eetool_measure.results import CascadeTime, ComponentTime, ThreadTimes

SEGMENT, HEAD, RUNTIME = "segment", "exit head", "gates and dispatch"


@dataclass(frozen=True)
class TimeRow:
    """One component at one operating point: milliseconds of a call, and of the mean input."""

    point: str
    part: str
    kind: str
    call_ms: float
    mean_ms: float


def time_rows(material: ReportInputs, found: Sequence[ReportPoint]) -> list[TimeRow]:
    """Rows of every component and of what the runtime adds, for each operating point with known exit shares."""
    profile = fitting_profile(material)
    if profile is None:
        return []
    threads = material.bench.threads if material.bench is not None else profile.threads
    times = next(t for t in profile.thread_counts if t.threads == threads)
    points = [(s.name, s.exit_shares) for s in found if s.exit_shares]
    if not points:  # where inputs leave is not known; at full depth it is
        points = [(FULL, (0.0,) * (len(times.cascade) - 1) + (1.0,))]
    return [row for name, shares in points for row in _rows(times, name, shares)]


def _rows(times: ThreadTimes, point: str, shares: Sequence[float]) -> list[TimeRow]:
    ran = [_that_ran(times.components, at) for at in times.cascade]
    skipped = {c.name for c in times.components[:-1] if c.kind == "exit"} if point == FULL else set()
    rows = []
    for i, c in enumerate(times.components):
        reached = sum(share for share, count in zip(shares, ran, strict=True) if i < count)
        kind = HEAD if c.kind == "exit" else SEGMENT
        median = c.latency_ms.median
        rows.append(TimeRow(point, c.name, kind, median, 0.0 if c.name in skipped else reached * median))
    added = [max(0.0, at.latency_ms.median - at.components_sum_ms) for at in times.cascade]
    mean = sum(share * ms for share, ms in zip(shares, added, strict=True))
    if point == FULL:  # measured by itself, since no early head runs
        mean = max(0.0, times.full.median - sum(row.mean_ms for row in rows))
    return [*rows, TimeRow(point, RUNTIME, RUNTIME, added[-1], mean)]


def _that_ran(components: Sequence[ComponentTime], at: CascadeTime) -> int:
    """How many components, from the first, ran for an input that left at this exit.

    The profile says the sum of their medians; the count is that whose sum it is.
    """
    sums, total = [], 0.0
    for c in components:
        total += c.latency_ms.median
        sums.append(abs(total - at.components_sum_ms))
    return sums.index(min(sums)) + 1
