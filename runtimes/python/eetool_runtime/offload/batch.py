"""Batches of a model whose last exits a server computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from ..batch import BatchRun, ExitGroup
from ..execution_plan import PlanStep
from ..manifest import Manifest
from .call import TailRules
from .cut import shortest_exit
from .server_tail import ServerTail


class OffloadBatch:
    """One batch: the part before the cut, one request for the inputs that reach it, and what follows a failure.

    Attributes:
        outcome: of the attempt; None while no input has reached the cut.
    """

    def __init__(
        self, m: Manifest, tail: ServerTail, rules: TailRules, steps: Sequence[PlanStep], run: BatchRun
    ) -> None:
        self.outcome: Optional[str] = None
        self._manifest, self._tail, self._rules, self._run = m, tail, rules, run
        self._head = [step for step in steps if step.position < rules.n_head]
        self._rest = [step for step in steps if step.position >= rules.n_head]

    def groups(self) -> Iterator[tuple[ExitGroup, bool, bool]]:
        """Yield the inputs that leave at each gate, whether it fired, and whether the server computed it."""
        run, components = self._run, self._manifest.components
        planned = {step.position for step in self._head}
        extra = [position for position in self._rules.makers if position not in planned]
        later = [step.position for step in self._rest] + extra
        reads = {name for position in later for name in components[position].inputs}
        for group in run.steps(self._head, {*reads, *self._tail.sent_tensors}):
            yield group, True, False
        if not len(run.rows):
            return
        for position in extra:
            run.run_component(position)
        yield from self._behind_cut(sum(components[position].macs for position in (*planned, *extra)))

    def _behind_cut(self, macs: int) -> Iterator[tuple[ExitGroup, bool, bool]]:
        run, gates = self._run, [step.gate for step in self._rest if step.gate is not None]
        if self._rules.may_send:
            at_cut = {name: run.tensors[name] for name in self._tail.sent_tensors}
            attempt = self._tail.attempt(at_cut, len(run.rows))
        else:
            attempt = self._tail.skip(len(run.rows))
        self.outcome = attempt.outcome
        if attempt.answers is not None:
            exits = self._manifest.exits
            for index, (logits, confidence) in attempt.answers.items():
                run.tensors.update({exits[index].logits: logits, exits[index].confidence: confidence})
            names = {name for index in attempt.answers for name in (exits[index].logits, exits[index].confidence)}
            for group in (group for gate in gates for group in run.leave(gate, macs, names)):
                yield group, True, True
            if len(run.rows):
                yield run.leave_all(gates[-1], macs), True, True
        elif self._rules.keeps_local or not self._rules.may_send:
            for group in run.steps(self._rest):
                yield group, True, False
            if len(run.rows):
                yield run.leave_all(gates[-1], self._rest[-1].macs), True, False
        else:
            yield self._best(macs), False, False

    def _best(self, macs: int) -> ExitGroup:
        """Return all inputs that are left, at the deepest exit that has been computed for them."""
        gates = [step.gate for step in self._head if step.gate is not None]
        if gates:
            return self._run.leave_all(gates[-1], macs)
        gate, positions = shortest_exit(self._manifest)
        ran = {*(step.position for step in self._head), *self._rules.makers}
        for position in positions:
            if position not in ran:
                self._run.run_component(position)
                macs += self._manifest.components[position].macs
        return self._run.leave_all(gate, macs)
