"""Models whose last exits a server computes."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from ..backends.base import ExecutionContext, Graph, Threads
from ..batch import BatchRun, can_compact
from ..bundle import Bundle
from ..deadline import CallOutcome, deadline_on_clock, run_guarded
from ..errors import EarlyExitError
from ..execution_plan import ExecutionPlan, Gate
from ..input_checker import Arrays, Tensors
from ..manifest import OperatingPoint, Variant
from ..manifest_offload import OffloadPolicy
from ..model import Model
from ..offload_checks import n_head_components
from ..result import DEVICE, SERVER, Result
from .call import CallTiming, LocalTail, NoExitYetError, OffloadCall, TailRules
from .client import InferenceClient
from .cut import makers, shortest_exit
from .options import LOCAL, Offload
from .server_tail import ServerTail


class OffloadingModel(Model):
    """A `Model` whose exits behind the cut a server computes, while it answers in time.

    Single calls and batches are offloaded; `stream` and `every_exit` run on the device alone. After `close`, everything
    does. The connection is made and kept by a thread, which ends with the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        graphs: Mapping[str, Graph],
        threads: Threads,
        *,
        offload: Offload,
        client: InferenceClient,
        component_ms: Optional[Mapping[str, float]] = None,
    ) -> None:
        """Make a model of opened graphs and a client; applications call `eetool_runtime.load` instead."""
        m = bundle.manifest
        assert m.offload is not None  # `load` refuses a bundle without
        policy = m.offload.variants[variant]
        self._tail = ServerTail(m, policy, offload, client)
        self._server_temperatures = policy.temperatures
        self._sent_points = set(policy.operating_points)
        super().__init__(bundle, variant, graphs, threads, component_ms=component_ms)
        self._fitted = _with_policy(self._fitted, policy)
        n_head = n_head_components(m, self._tail.spec)
        self._local_tail = LocalTail(self._in_order[n_head:], self._tail.keeper)
        self._rules_by_sending = {
            may_send: TailRules(
                m.components,
                n_head,
                makers(m, self._tail.sent_tensors),
                may_send,
                offload.fallback == LOCAL,
                self._local_tail,
            )
            for may_send in (True, False)
        }
        self._end = weakref.finalize(self, self._tail.keeper.stop)
        self.use(m.default_operating_point)
        self._tail.keeper.start()

    def __call__(self, inputs: Arrays, *, deadline_ms: Optional[float] = None, min_exit: int = 0) -> Result:
        """Run one input at batch 1, see `Model.__call__`; `Result.where` and `Result.offload` tell what a server did.

        Under a deadline the server is asked where its replies are expected in time, and at most until the deadline.
        """
        start = self._clock()
        self._fork_guard.check()
        plan = self._plan
        accepted = self._accept(inputs)
        context = self._contexts.acquire()
        try:
            entered = self._contexts.begin(context, accepted)
            return self._run_call(entered, accepted, plan, start, deadline_ms, min_exit)
        except EarlyExitError:
            raise
        except Exception as error:  # engines raise a dozen unrelated types
            raise self._failed(error) from error
        finally:
            self._contexts.release(context)

    def _run_call(
        self,
        context: ExecutionContext,
        inputs: Mapping[str, Any],
        plan: ExecutionPlan,
        start: int,
        deadline_ms: Optional[float],
        min_exit: int,
    ) -> Result:
        limit_ms, end = deadline_on_clock(deadline_ms, start)
        plan.sections(min_exit, anytime=end is not None)  # refuses an exit that does not exist
        timing = CallTiming(self._latency, self._clock, start, end)
        first = int(min_exit) % len(self._manifest.exits)
        call = OffloadCall(self._tail, self._rules(plan), context, inputs, timing, first)
        try:
            outcome = run_guarded(
                plan, call.run_section, min_exit=min_exit, latency=call, clock=self._clock, start=start, end=end
            )
        except NoExitYetError:
            outcome = self._shortest_answer(context, call)
        logits = call.logits(outcome.gate.exit_index, outcome.gate.logits)
        latency_ms = (self._clock() - start) / 1e6
        late = limit_ms is not None and latency_ms > limit_ms
        gate, confidence = outcome.gate, outcome.confidence
        plan.stats.record(gate.exit_index, confidence, call.macs, latency_ms, outcome.seen, outcome.gated, late)
        is_servers = call.answers is not None and gate.exit_index in call.answers
        return self._answer(gate, confidence, logits, latency_ms, outcome.gated, is_servers, call.outcome)

    def _rules(self, plan: ExecutionPlan) -> TailRules:
        return self._rules_by_sending[plan.name is None or plan.name in self._sent_points]

    def load_tail(self) -> None:
        """Load the components behind the cut now, instead of when a call first needs them.

        Raises:
            BackendError: a graph cannot be loaded.
        """
        self._fork_guard.check()
        with self._backend_errors():
            self._local_tail.load()

    def _shortest_answer(self, context: ExecutionContext, call: OffloadCall) -> CallOutcome:
        """Compute the exit that needs least, and end the call there."""
        gate, positions = shortest_exit(self._manifest)
        call.run(positions)
        outcome = CallOutcome(gate, float(context.read(gate.confidence).item()), call.macs, [])
        outcome.gated = gate.exit_index == self._manifest.n_early_exits
        return outcome

    def _answer(
        self,
        gate: Gate,
        confidence: float,
        logits: np.ndarray,
        latency_ms: float,
        gated: bool,
        is_servers: bool,
        outcome: Optional[str],
    ) -> Result:
        index = gate.exit_index
        temperatures = self._server_temperatures if is_servers else self._fitted.temperatures
        where = SERVER if is_servers else DEVICE
        return Result(index, confidence, logits, temperatures[index], self._labels, latency_ms, gated, where, outcome)

    def batch(self, inputs: Arrays) -> list[Result]:
        """Run many inputs together, see `Model.batch`; those that reach the cut travel in one request.

        After a failure with `fallback="best"`, they are answered by the deepest exit that was computed for them.
        """
        start = self._clock()
        self._fork_guard.check()
        plan = self._plan
        tensors = self._check(inputs, any_batch=True)
        n = len(tensors[self._first_input])
        with self._backend_errors():
            if plan.watch is None and can_compact(self._manifest, self._fitted):
                return self._run_batch(plan, start, {**tensors, **self._scalars}, n)
            return [self._run_single(plan, {name: t[i : i + 1] for name, t in tensors.items()}) for i in range(n)]

    def _run_single(self, plan: ExecutionPlan, tensors: Tensors) -> Result:
        start = self._clock()
        context = self._contexts.acquire()
        try:
            return self._run_call(self._contexts.begin(context, tensors), tensors, plan, start, None, 0)
        finally:
            self._contexts.release(context)

    def _run_batch(self, plan: ExecutionPlan, start: int, tensors: Tensors, n: int) -> list[Result]:
        from .batch import OffloadBatch  # many models never run a batch

        results: list[Optional[Result]] = [None] * n
        run = BatchRun(self._in_order, tensors, n, self._manifest, self._fitted)
        batch = OffloadBatch(self._manifest, self._tail, self._rules(plan), plan.steps, run)
        for (gate, macs, rows), gated, is_servers in batch.groups():
            latency_ms = (self._clock() - start) / 1e6
            for row, confidence, logits, seen in rows:
                plan.stats.record(gate.exit_index, confidence, macs, latency_ms, seen, gated)
                results[row] = self._answer(gate, confidence, logits, latency_ms, gated, is_servers, batch.outcome)
        return [result for result in results if result is not None]

    def check_server(self, timeout_s: float = 5.0) -> None:
        """Ask now whether the server has this bundle's model and is ready; calls need no such check.

        Raises:
            OffloadError: it cannot be reached, refuses this device, or has another model; `kind` tells which.
        """
        self._fork_guard.check()
        self._tail.keeper.check(timeout_s)

    def close(self) -> None:
        """End the connection and its thread. The model then runs on the device alone."""
        self._fork_guard.check()
        self._end()

    def recent_round_trips_ms(self, requests: int = 100) -> list[float]:
        """Return the durations of at most the last `requests` requests that were answered or timed out."""
        self._fork_guard.check()
        return self._tail.stats.recent_ms(requests)

    @property
    def link_is_up(self) -> bool:
        """False while requests are not sent, because the last ones failed or the server was not ready."""
        return not self._tail.breaker.is_open

    def stats(self) -> dict[str, Any]:
        """Return the statistics of `Model.stats`, and those of the link under `offload`; docs/offload.md lists them."""
        figures = super().stats()
        calls = sum(point["calls"] for point in figures["operating_points"].values())
        tail = self._tail
        problem = tail.keeper.last_problem
        return {
            **figures,
            "offload": {
                "server": f"{tail.endpoint.scheme}://{tail.endpoint.host_and_port}",
                "model": tail.spec.model,
                "link": "up" if self.link_is_up else "down",
                "times_opened": tail.breaker.times_opened,
                "probes": tail.keeper.probes,
                "last_problem": None if problem is None else problem.kind,
                **tail.stats.snapshot(calls),
            },
        }


def _with_policy(variant: Variant, policy: OffloadPolicy) -> Variant:
    """Return a variant whose operating points have the thresholds and figures with a server, where they have any."""
    points = dict(variant.operating_points)
    for name, point in policy.operating_points.items():
        points[name] = OperatingPoint(point.thresholds, point.link_up)
    return Variant(**{**vars(variant), "operating_points": points})
