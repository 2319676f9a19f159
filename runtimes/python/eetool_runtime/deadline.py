"""Calls with a deadline, a minimum exit or a watchdog."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable, Optional, Protocol, TypeVar

from .argument_checks import as_float, short_repr
from .errors import UsageError
from .execution_plan import ExecutionPlan, Gate, PlanSection

T = TypeVar("T")
RunSection = Callable[[PlanSection], Optional[float]]  # None: the section could not run in time
Clock = Callable[[], int]  # nanoseconds, never turned back

MAX_DEADLINE_NS = 10**18  # 30 years
_WINDOW = 100  # measurements kept per section
_QUANTILE = 0.95
_MIN_MEASUREMENTS = 8  # of this process, after which the latencies of the bundle are ignored
_UPDATE_EVERY = 10  # measurements; sorting the window after each would be slow
_MARGIN = 1.5  # factor on a median or on an extrapolation
_DECAY = 0.998  # per call that an estimate ended: half after 350, so that one outlier does not block a section forever


def check_deadline(deadline_ms: object) -> float:
    """Return a deadline in milliseconds; raises UsageError where it is no positive number."""
    milliseconds = as_float(deadline_ms)
    if milliseconds is None or not 0 < milliseconds < math.inf:
        raise UsageError(f"deadline_ms must be a positive number, not {short_repr(deadline_ms)}")
    return milliseconds


def deadline_on_clock(deadline_ms: object, start: int) -> tuple[Optional[float], Optional[int]]:
    """Return a deadline in milliseconds, and on the clock of a call that began at `start`; both None without one.

    Raises:
        UsageError: it is no positive number.
    """
    if deadline_ms is None:
        return None, None
    limit_ms = check_deadline(deadline_ms)
    return limit_ms, start + round(min(limit_ms * 1e6, MAX_DEADLINE_NS))


class SectionLatency(Protocol):
    """Estimates of how long sections take, see `LatencyEstimator`."""

    def record(self, section: PlanSection, latency_ns: int) -> None:
        """Add one measured latency of `section`."""

    def fits(self, section: PlanSection, left_ns: int, spent_ns: int, spent_macs: int) -> bool:
        """Return whether `section` is expected to finish in `left_ns`."""


class CallOutcome:
    """End of a call: the gate, its confidence, and the total MACs.

    Attributes:
        seen: (exit, confidence) of the gates that count for the drift test.
        gated: False where a deadline ended the call before any gate fired.
    """

    __slots__ = ("confidence", "gate", "gated", "macs", "seen")

    def __init__(self, gate: Gate, confidence: float, macs: int, seen: list[tuple[int, float]]) -> None:
        self.gate = gate
        self.confidence = confidence
        self.macs = macs
        self.seen = seen
        self.gated = True


def run_guarded(
    plan: ExecutionPlan,
    run_section: RunSection,
    *,
    min_exit: int,
    latency: SectionLatency,
    clock: Clock,
    start: int,
    end: Optional[int],
) -> CallOutcome:
    """Run a call under a deadline, a minimum exit or a watchdog.

    Args:
        plan: the thresholds and watchdog in use.
        run_section: runs a section and returns the confidence at its gate, or None where the call has to end before.
        min_exit: the first exit whose gate is evaluated.
        latency: estimates that are used and updated under a deadline.
        clock: time in nanoseconds.
        start: of the call, on `clock`.
        end: the deadline on `clock`, or None.
    """
    sections = plan.sections(min_exit, anytime=end is not None)
    final = sections[-1].gate.exit_index
    outcome: Optional[CallOutcome] = None
    fired = alarmed = False
    for section, confidence, macs in sections_in_time(sections, run_section, latency, clock, start, end):
        gate = section.gate
        seen = outcome.seen if outcome is not None else []
        # After an alarm or a skipped gate, the inputs that arrive differ from those of the bundle's figures.
        if min_exit == 0 and not fired and (plan.watch is None or outcome is None):
            seen.append((gate.exit_index, confidence))
        outcome = CallOutcome(gate, confidence, macs, seen)
        fired = fired or confidence >= gate.threshold
        if gate.exit_index != final and plan.watch and plan.watch[0] <= confidence <= plan.watch[1]:
            alarmed = True
            if end is None:
                return _run_to_final_exit(plan, run_section, outcome)
        if fired and not alarmed:
            break
    else:
        assert outcome is not None  # the first section always runs
        outcome.gated = outcome.gate.exit_index == final
    assert outcome is not None
    return outcome


def sections_in_time(
    sections: Sequence[PlanSection],
    run_section: Callable[[PlanSection], Optional[T]],
    latency: SectionLatency,
    clock: Clock,
    start: int,
    end: Optional[int],
) -> Iterator[tuple[PlanSection, T, int]]:
    """Run sections in order, and yield each with its value and the MACs of all up to there.

    The first one always runs. Under a deadline, the iterator ends before a section that is not expected to be in time.

    Args:
        sections: of the execution plan.
        run_section: runs a section and returns a value, or None where the call has to end before it.
        latency: estimates that are used and updated under a deadline.
        clock: time in nanoseconds.
        start: of the call, on `clock`.
        end: the deadline on `clock`, or None.
    """
    mark, macs = start, 0
    for number, section in enumerate(sections):
        if end is not None and number and not latency.fits(section, end - mark, mark - start, macs):
            return
        value = run_section(section)
        if value is None:
            return
        if end is not None:
            before, mark = mark, clock()
            latency.record(section, mark - before)
        macs += section.macs
        yield section, value, macs


def _run_to_final_exit(plan: ExecutionPlan, run_section: RunSection, outcome: CallOutcome) -> CallOutcome:
    """Run the rest of a call that cannot end early any more, without computing the exits on the way."""
    section = plan.remaining_section(outcome.gate.exit_index)
    confidence = run_section(section)
    if confidence is None:
        outcome.gated = False
        return outcome
    return CallOutcome(section.gate, confidence, outcome.macs + section.macs, outcome.seen)


class LatencyEstimator:
    """Conservative latency estimates of plan sections.

    The estimate is the 95th percentile of the last 100 latencies under a deadline. With fewer than 8, it is the
    median that the bundle recorded for this machine, or else the latency of the call so far, scaled by MACs; both are
    multiplied by 1.5.
    """

    def __init__(self, component_ms: Mapping[str, float]) -> None:
        self._component_ms = component_ms
        self._lock = threading.Lock()
        self._measured: dict[tuple[int, int], RecentLatencies] = {}

    def record(self, section: PlanSection, latency_ns: int) -> None:
        """Add one measured latency of `section`."""
        with self._lock:
            self._measured.setdefault((section.after, section.gate.exit_index), RecentLatencies()).add(latency_ns)

    def fits(self, section: PlanSection, left_ns: int, spent_ns: int, spent_macs: int) -> bool:
        """Return whether `section` is expected to finish in `left_ns`.

        Args:
            section: the next one of a call.
            left_ns: until the deadline.
            spent_ns: duration of the call so far.
            spent_macs: MACs of the call so far.
        """
        with self._lock:
            measured = self._measured.get((section.after, section.gate.exit_index))
            if measured is None or measured.estimate_ns is None:
                return self._extrapolate(section, spent_ns, spent_macs) <= left_ns
            return measured.fits(left_ns)

    def _extrapolate(self, section: PlanSection, spent_ns: int, spent_macs: int) -> float:
        names = [step.component for step in section.steps]
        if self._component_ms.keys() >= set(names):
            return _MARGIN * 1e6 * sum(self._component_ms[name] for name in names)
        share = section.macs / spent_macs if spent_macs else 1.0
        return _MARGIN * spent_ns * share


class RecentLatencies:
    """The most recent latencies of one section or link; not safe for several threads at once.

    Attributes:
        estimate_ns: their 95th percentile; None before 8 of them.
    """

    def __init__(self) -> None:
        self.estimate_ns: Optional[float] = None
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._count = 0

    def fits(self, left_ns: int) -> bool:
        """Return whether the estimate, which has to exist, is at most `left_ns`; where not, it falls a little."""
        assert self.estimate_ns is not None
        if self.estimate_ns <= left_ns:
            return True
        self.estimate_ns *= _DECAY
        return False

    def add(self, latency_ns: int) -> None:
        """Add one latency."""
        self._recent.append(latency_ns)
        self._count += 1
        # Updated regularly, and at once where the estimate was too low.
        late = self.estimate_ns is not None and latency_ns > self.estimate_ns
        if self._count >= _MIN_MEASUREMENTS and (self.estimate_ns is None or late or self._count % _UPDATE_EVERY == 0):
            self.estimate_ns = float(sorted(self._recent)[int(_QUANTILE * (len(self._recent) - 1))])
