"""Time by component: latency of one call, and contribution to the mean latency."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import FULL, ReportPoint, matching_profile
from eetool_measure.results import CascadeTime, ComponentTime, ThreadTimes

SEGMENT, EXIT, RUNTIME = "segment", "exit", "gates and dispatch"


@dataclass(frozen=True)
class TimeRow:
    """One component at one operating point: latency of one call, and contribution to the mean latency."""

    point: str
    part: str
    kind: str
    call_ms: float
    mean_ms: float


def time_rows(inputs: ReportInputs, points: Sequence[ReportPoint]) -> list[TimeRow]:
    """Return rows of every component and of the runtime, for each operating point with known exit shares.

    There are none where the profile is of another variant than the operating points of the slider.
    """
    profile = matching_profile(inputs)
    if profile is None or (inputs.bench is not None and profile.variant != inputs.bench.judged_variant):
        return []
    threads = inputs.bench.threads if inputs.bench is not None else profile.threads
    times = next(t for t in profile.thread_counts if t.threads == threads)
    own = [point for point in points if point.variant in (None, profile.variant)]
    shares_by_point = [(p.name, p.operating_point == FULL, p.exit_shares) for p in own if p.exit_shares]
    if not shares_by_point:  # exit shares are known only at full depth
        shares_by_point = [(FULL, True, (0.0,) * (len(times.cascade) - 1) + (1.0,))]
    return [row for name, full, shares in shares_by_point for row in _rows(times, name, full, shares)]


def _rows(times: ThreadTimes, point: str, full: bool, shares: Sequence[float]) -> list[TimeRow]:
    ran = [_components_run(times.components, at) for at in times.cascade]
    skipped = {c.name for c in times.components[:-1] if c.kind == "exit"} if full else set()
    rows = []
    for i, c in enumerate(times.components):
        reached = sum(share for share, count in zip(shares, ran, strict=True) if i < count)
        kind = EXIT if c.kind == "exit" else SEGMENT
        median = c.latency_ms.median
        rows.append(TimeRow(point, c.name, kind, median, 0.0 if c.name in skipped else reached * median))
    added = [max(0.0, at.latency_ms.median - at.components_sum_ms) for at in times.cascade]
    mean = sum(share * ms for share, ms in zip(shares, added, strict=True))
    if full:  # measured separately, since no early exit runs
        mean = max(0.0, times.full.median - sum(row.mean_ms for row in rows))
    return [*rows, TimeRow(point, RUNTIME, RUNTIME, added[-1], mean)]


def _components_run(components: Sequence[ComponentTime], at: CascadeTime) -> int:
    """Return the number of components, from the first, that ran for an input that left at this exit.

    The profile holds the sum of their medians; the result is the count with the nearest sum.
    """
    sums, total = [], 0.0
    for c in components:
        total += c.latency_ms.median
        sums.append(abs(total - at.components_sum_ms))
    return sums.index(min(sums)) + 1
