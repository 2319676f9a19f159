"""Calls that look at more than their gates: at the clock, at the least exit asked for, at a watchdog."""

from __future__ import annotations

from typing import Callable, Optional

from .pace import Pace
from .policy import Gate, Policy, Stretch

Walk = Callable[[Stretch], float]
Clock = Callable[[], int]  # nanoseconds, never turned back


class Answer:
    """Where a call ended, what ran for it, and (exit, confidence) of the gates that tell of drift."""

    __slots__ = ("confidence", "gate", "gated", "macs", "seen")

    def __init__(self, gate: Gate, confidence: float, macs: int, seen: list[tuple[int, float]]) -> None:
        self.gate = gate
        self.confidence = confidence
        self.macs = macs
        self.seen = seen
        self.gated = True


def guide(
    policy: Policy, walk: Walk, *, min_exit: int, pace: Pace, clock: Clock, start: int, end: Optional[int]
) -> Answer:
    """Run a call that began at `start` to its end, before `end` if there is one, both in nanoseconds of `clock`.

    `walk` runs a stretch and returns the confidence at its gate; `min_exit` is the first exit whose gate stands.
    """
    stretches = policy.stretches(min_exit, anytime=end is not None)
    final = stretches[-1].gate.exit_index
    answer: Optional[Answer] = None
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
        answer = Answer(gate, confidence, spent + stretch.macs, seen)
        fired = fired or confidence >= gate.threshold
        if gate.exit_index != final and policy.watch and policy.watch[0] <= confidence <= policy.watch[1]:
            alarmed = True
            if end is None:
                return _to_the_end(policy, walk, answer)
        if fired and not alarmed:
            break
    assert answer is not None  # the first stretch is always walked
    return answer


def _to_the_end(policy: Policy, walk: Walk, answer: Answer) -> Answer:
    """Nothing can stop this call any more, so no head on its way is computed."""
    rest = policy.rest(answer.gate.exit_index)
    return Answer(rest.gate, walk(rest), answer.macs + rest.macs, answer.seen)
