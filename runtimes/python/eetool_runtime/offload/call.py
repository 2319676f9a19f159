"""One call of a model whose last exits a server computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from ..backends.base import ExecutionContext, Graph
from ..deadline import Clock, SectionLatency
from ..errors import EarlyExitError
from ..execution_plan import PlanSection
from ..manifest import Component
from ..records import dataclass
from ..views import View
from .keeper import LinkKeeper
from .server_tail import Answers, ServerTail


class NoExitYetError(EarlyExitError):
    """The call has to end, and no exit has been computed."""


class LocalTail:
    """The components behind the cut on this device, which are loaded when they are first needed."""

    def __init__(self, graphs: Sequence[Graph], keeper: LinkKeeper) -> None:
        self._graphs, self._keeper = graphs, keeper
        self._requested = False

    @property
    def is_loaded(self) -> bool:
        """True once all of them are in memory."""
        return all(getattr(graph, "loaded", True) for graph in self._graphs)

    def load(self) -> None:
        """Load them. Raises errors of loading."""
        for graph in self._graphs:
            load = getattr(graph, "load", None)
            if load is not None:
                load()

    def load_later(self) -> None:
        """Have them loaded in the background, once."""
        if not self._requested:
            self._requested = True
            self._keeper.do(self.load)


@dataclass(frozen=True)
class TailRules:
    """What is the same in all calls under one operating point.

    Attributes:
        components: of the model, in order.
        n_head: number of components before the cut.
        makers: positions of the components that the tensors which travel depend on.
        may_send: False where inputs of this operating point are never sent.
        keeps_local: True where the device computes the rest itself after a failure.
        local_tail: the components behind the cut on this device.
    """

    components: Sequence[Component]
    n_head: int
    makers: Sequence[int]
    may_send: bool
    keeps_local: bool
    local_tail: LocalTail


class CallTiming:
    """Times of a call.

    Attributes:
        local: estimates of the sections on this device.
        clock: time in nanoseconds.
        start: of the call on `clock`.
        end: its deadline on `clock`, or None.
        head_ns: duration of the part before the cut, once it has run.
    """

    def __init__(self, local: SectionLatency, clock: Clock, start: int, end: Optional[int]) -> None:
        self.local, self.clock, self.start, self.end = local, clock, start, end
        self.head_ns = 0

    def left_s(self) -> Optional[float]:
        """Return the time until the deadline in seconds, or None without one."""
        return None if self.end is None else max(0.0, (self.end - self.clock()) / 1e9)


class OffloadCall:
    """Sections of a call: those before the cut run here, those behind it are answered by the server, or run here.

    It is also the estimate of how long they take. Functions that run sections and estimates belong together here: which
    of them holds depends on whether this call has asked the server already.

    Attributes:
        outcome: of the attempt, see `Result.offload`; None before.
        answers: of the server, or None.
        macs: of the components that ran on this device.
    """

    def __init__(
        self,
        tail: ServerTail,
        rules: TailRules,
        context: ExecutionContext,
        inputs: Mapping[str, Any],
        timing: CallTiming,
        min_exit: int,
    ) -> None:
        """Begin a call whose context has been entered with `inputs`; `min_exit` is not negative."""
        self.outcome: Optional[str] = None
        self.answers: Optional[Answers] = None
        self.macs = 0
        self._tail, self._rules, self._context, self._inputs = tail, rules, context, inputs
        self._timing, self._min_exit = timing, min_exit
        self._ran: set[int] = set()
        self._has_exit = False
        self._expects_reply: Optional[bool] = None  # under a deadline, once it was estimated
        self._measures_local = True  # whether the last section ran here, without a request

    def run_section(self, section: PlanSection) -> Optional[float]:
        """Return the confidence at the gate of `section`, or None where the call ends before it.

        Raises:
            NoExitYetError: it ends, and there is no exit to answer with.
        """
        index, positions = section.gate.exit_index, [step.position for step in section.steps]
        self._measures_local = True
        if index >= self._tail.spec.first_exit:
            if self.outcome is None:
                self.run([position for position in positions if position < self._rules.n_head])
                self._ask()
                self._measures_local = False
            if self.answers is not None:
                self._measures_local = False
                return float(self.answers[index][1][0])
            if not self._runs_here(section):
                return None
        self.run(positions)
        self._has_exit = True
        return float(self._context.read(section.gate.confidence).item())

    def logits(self, exit_index: int, name: str) -> np.ndarray:
        """Return a copy of the logits of an exit that was computed, float32 (classes,)."""
        answer = self.answers.get(exit_index) if self.answers is not None else None
        rows = self._context.read(name) if answer is None else answer[0]
        logits: np.ndarray = rows[0].copy()
        return logits

    def run(self, positions: Sequence[int]) -> None:
        """Run components on this device, those that have run excepted."""
        for position in positions:
            if position not in self._ran:
                self._context.calls[position]()
                self._ran.add(position)
                self.macs += self._rules.components[position].macs

    def fits(self, section: PlanSection, left_ns: int, spent_ns: int, spent_macs: int) -> bool:
        """Return whether `section` is expected to end in time, see `LatencyEstimator.fits`.

        Where it is not, the call ends before it; if that is at the cut, the input is counted as one that is not sent.
        """
        fits = self._is_expected_in_time(section, left_ns, spent_ns, spent_macs)
        if not fits and self.outcome is None and section.gate.exit_index >= self._tail.spec.first_exit:
            self.outcome = self._tail.pass_over(1).outcome
        return fits

    def _is_expected_in_time(self, section: PlanSection, left_ns: int, spent_ns: int, spent_macs: int) -> bool:
        if section.gate.exit_index >= self._tail.spec.first_exit:
            if self.answers is not None:
                return True
            if self.outcome is None and self._rules.may_send:
                self._expects_reply = self._tail.fits(left_ns)
                if self._expects_reply:
                    return True
            if not self._local_is_possible():
                return False
        return self._timing.local.fits(section, left_ns, spent_ns, spent_macs)

    def record(self, section: PlanSection, latency_ns: int) -> None:
        """Add the latency of a section, where this device computed it without a request."""
        if self._measures_local:
            self._timing.local.record(section, latency_ns)

    def _ask(self) -> None:
        self.run(self._rules.makers)
        self._timing.head_ns = self._timing.clock() - self._timing.start
        if not self._rules.may_send or not self._is_in_time():
            attempt = self._tail.skip(1)
        else:
            at_cut = {name: self._at_cut(name) for name in self._tail.sent_tensors}
            attempt = self._tail.attempt(at_cut, 1, self._timing.left_s())
        self.outcome, self.answers = attempt

    def _is_in_time(self) -> bool:
        """Return False where a reply is not expected before the deadline; a link that is down is another matter."""
        left_s = self._timing.left_s()
        if left_s is None or self._tail.breaker.is_open:
            return True
        return self._tail.fits(round(left_s * 1e9)) if self._expects_reply is None else self._expects_reply

    def _at_cut(self, name: str) -> np.ndarray:
        value = self._inputs.get(name)
        if isinstance(value, View):
            return value.array()
        return self._context.read(name) if value is None else np.asarray(value)

    def _runs_here(self, section: PlanSection) -> bool:
        """Return whether the device computes `section`, which the server has not; raises NoExitYetError."""
        if not self._has_exit:
            earliest = 0 if self._tail.spec.after_exit is None else self._tail.spec.after_exit
            if self._rules.keeps_local or not self._rules.may_send or self._min_exit > earliest:
                return True  # there is nothing else to answer with
            raise NoExitYetError("no exit has been computed")
        if not self._local_is_possible():
            return False
        left_s, timing = self._timing.left_s(), self._timing
        return left_s is None or timing.local.fits(section, round(left_s * 1e9), timing.head_ns, self.macs)

    def _local_is_possible(self) -> bool:
        if not self._rules.keeps_local and self._rules.may_send:
            return False
        if self._timing.end is not None and not self._rules.local_tail.is_loaded:
            self._rules.local_tail.load_later()  # for later calls: this one cannot wait for it
            return False
        return True
