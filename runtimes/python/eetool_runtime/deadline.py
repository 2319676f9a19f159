"""Calls that look at more than their gates: at the clock, at the least exit asked for, at a watchdog."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Callable, Optional

from .execution_plan import ExecutionPlan, Gate, PlanSection

Walk = Callable[[PlanSection], float]
Clock = Callable[[], int]  # nanoseconds, never turned back

_WINDOW = 100
_QUANTILE = 0.95
_ENOUGH = 8  # measurements of this very process, after which what the bundle says counts no more
_RENEW = 10  # sort the window after so many measurements, not after each
_MARGIN = 1.5  # on a median, or on a guess
_FADE = 0.998  # per call that an estimate stopped: half after 350, so that one hiccup does not stop a stretch for good


class CallOutcome:
    """Where a call ended, what ran for it, and (exit, confidence) of the gates that tell of drift."""

    __slots__ = ("confidence", "gate", "gated", "macs", "seen")

    def __init__(self, gate: Gate, confidence: float, macs: int, seen: list[tuple[int, float]]) -> None:
        self.gate = gate
        self.confidence = confidence
        self.macs = macs
        self.seen = seen
        self.gated = True


def run_guarded(
    policy: ExecutionPlan,
    walk: Walk,
    *,
    min_exit: int,
    pace: LatencyEstimator,
    clock: Clock,
    start: int,
    end: Optional[int],
) -> CallOutcome:
    """Run a call that began at `start` to its end, before `end` if there is one, both in nanoseconds of `clock`.

    `walk` runs a stretch and returns the confidence at its gate; `min_exit` is the first exit whose gate stands.
    """
    stretches = policy.stretches(min_exit, anytime=end is not None)
    final = stretches[-1].gate.exit_index
    answer: Optional[CallOutcome] = None
    fired = alarmed = False
    mark = start
    for stretch in stretches:
        if answer is not None and end is not None and not pace.fits(stretch, end - mark, mark - start, answer.macs):
            answer.gated = False
            break
        gate, confidence = stretch.gate, walk(stretch)
        if end is not None:
            before, mark = mark, clock()
            pace.learn(stretch, mark - before)
        spent, seen = (answer.macs, answer.seen) if answer is not None else (0, [])
        # Behind an alarm or a gate that was passed over, inputs arrive that the bundle's figures do not speak of.
        if min_exit == 0 and not fired and (policy.watch is None or answer is None):
            seen.append((gate.exit_index, confidence))
        answer = CallOutcome(gate, confidence, spent + stretch.macs, seen)
        fired = fired or confidence >= gate.threshold
        if gate.exit_index != final and policy.watch and policy.watch[0] <= confidence <= policy.watch[1]:
            alarmed = True
            if end is None:
                return _to_the_end(policy, walk, answer)
        if fired and not alarmed:
            break
    assert answer is not None  # the first stretch is always walked
    return answer


def _to_the_end(policy: ExecutionPlan, walk: Walk, answer: CallOutcome) -> CallOutcome:
    """Nothing can stop this call any more, so no head on its way is computed."""
    rest = policy.rest(answer.gate.exit_index)
    return CallOutcome(rest.gate, walk(rest), answer.macs + rest.macs, answer.seen)


class LatencyEstimator:
    """Nanoseconds per stretch, on the safe side.

    The 95th percentile of the last 100 times under a deadline. Before there are 8: the medians that the bundle
    recorded for this machine, or else the pace of the call so far by MACs, with a margin of one half.
    """

    def __init__(self, component_ms: Mapping[str, float]) -> None:
        self._component_ms = component_ms
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int], _Times] = {}

    def learn(self, stretch: PlanSection, took_ns: int) -> None:
        """Note how long `stretch` took."""
        with self._lock:
            self._known.setdefault((stretch.after, stretch.gate.exit_index), _Times()).add(took_ns)

    def fits(self, stretch: PlanSection, left_ns: int, spent_ns: int, spent_macs: int) -> bool:
        """Whether `stretch` is sure enough to be done in `left_ns`, in a call that has spent so much already."""
        with self._lock:
            known = self._known.get((stretch.after, stretch.gate.exit_index))
            if known is None or known.estimate_ns is None:
                return self._guess(stretch, spent_ns, spent_macs) <= left_ns
            if known.estimate_ns <= left_ns:
                return True
            known.estimate_ns *= _FADE
            return False

    def _guess(self, stretch: PlanSection, spent_ns: int, spent_macs: int) -> float:
        names = [step.component for step in stretch.steps]
        if self._component_ms.keys() >= set(names):
            return _MARGIN * 1e6 * sum(self._component_ms[name] for name in names)
        share = stretch.macs / spent_macs if spent_macs else 1.0
        return _MARGIN * spent_ns * share


class _Times:
    """The last times of one stretch."""

    def __init__(self) -> None:
        self.estimate_ns: Optional[float] = None
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._count = 0

    def add(self, took_ns: int) -> None:
        self._recent.append(took_ns)
        self._count += 1
        # Anew now and then, and at once where it proved too low.
        late = self.estimate_ns is not None and took_ns > self.estimate_ns
        if self._count >= _ENOUGH and (self.estimate_ns is None or late or self._count % _RENEW == 0):
            self.estimate_ns = float(sorted(self._recent)[int(_QUANTILE * (len(self._recent) - 1))])
