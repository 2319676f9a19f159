"""The model an application holds: runs components in order and stops at the first gate that fires."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Optional, Union, overload

import numpy as np

from .argument_checks import real, shown, whole
from .backends.base import ExecutionContext, Graph, Threads
from .batch import can_compact, leave_in_groups
from .bundle import Bundle
from .component_call import run_component
from .deadline import Clock, LatencyEstimator, run_guarded
from .errors import BackendError, EarlyExitError, UsageError
from .execution_contexts import ContextPool
from .execution_plan import Band, ExecutionPlan, Gate, PlanSection, Thresholds, unsplit_macs
from .fork_guard import Origin
from .machine import resident_bytes
from .manifest import OperatingPoint, all_tensors, scalars
from .preprocess import Raw, check_array, check_symbols, has_shared_symbols, is_finite, name_inputs, preprocess_all
from .prometheus import prometheus_text
from .result import Result
from .stats import Stats

Arrays = Union[np.ndarray, Mapping[str, np.ndarray]]
Tensors = dict[str, np.ndarray]

CUSTOM = "custom"  # what thresholds without a name are counted under
_LONGEST_NS = 10**18  # of a deadline, 30 years


class Model:
    """A loaded bundle. Calls may come from several threads at once.

    It belongs to the process that loaded it. In a child forked since, calls, `use` and figures raise BackendError.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str,
        graphs: Mapping[str, Graph],
        threads: Threads,
        *,
        component_ms: Optional[Mapping[str, float]] = None,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        """`component_ms`: median time of each component on this machine, where it is known."""
        self.bundle = bundle
        self.variant = variant
        self.threads = threads
        self._manifest = bundle.manifest
        self._graphs = graphs
        self._in_order = [graphs[c.name] for c in bundle.manifest.components]
        self._clock = clock
        self._pace = LatencyEstimator(component_ms or {})
        self._fitted = bundle.manifest.variants[variant]
        self._scalars: Tensors = {
            name: np.array(value, np.float32) for name, value in scalars(self._manifest, self._fitted).items()
        }
        self._labels = self._manifest.labels
        self._stats: dict[str, Stats] = {}
        self._turning = threading.Lock()
        self._origin = Origin()
        self._said = all_tensors(self._manifest, variant)
        self._first_input = self._manifest.inputs[0].name
        self._accepted: list[tuple[str, tuple[int, ...], np.dtype]] = []
        self._symbols_shared = has_shared_symbols(self._manifest.inputs)
        self._unsplit_macs = unsplit_macs(self._manifest)
        self._lanes = ContextPool(self._manifest, variant, self._in_order, self._scalars)
        self.use(self._manifest.default_operating_point)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._labels

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """The named settings of the variant in use, with their expected figures."""
        return dict(self._fitted.operating_points)

    @property
    def thresholds(self) -> Thresholds:
        """Thresholds in use, one per early exit; None never fires."""
        return self._policy.thresholds

    @property
    def operating_point(self) -> Optional[str]:
        """Name of the operating point in use, or None after `use(threshold=...)`."""
        return self._policy.name

    @property
    def watch(self) -> Optional[Band]:
        """The watchdog's band in use, see `use`."""
        return self._policy.watch

    @property
    def setting(self) -> tuple[Optional[str], Optional[Band]]:
        """`operating_point` and `watch` of one moment, where another thread may be in `use`."""
        policy = self._policy
        return policy.name, policy.watch

    def use(
        self,
        operating_point: Optional[str] = None,
        *,
        threshold: Union[float, Thresholds, None] = None,
        watch: Optional[Band] = None,
    ) -> None:
        """Move the knob: a named operating point, one threshold for every early exit, or one for each.

        Calls under way finish as they began.

        Args:
            watch: a watchdog: an input whose confidence lies in this band (low, high), bounds included, at an early
                exit goes on to full depth, whether or not the gate there fires.

        Raises:
            UsageError: the name is unknown, a number is out of range, or both or neither were given.
        """
        self._origin.check()
        if (operating_point is None) == (threshold is None):
            raise UsageError("use() takes an operating point or a threshold")
        thresholds: Thresholds
        if operating_point is not None:
            points = self._fitted.operating_points
            if not isinstance(operating_point, str) or operating_point not in points:
                raise UsageError(
                    f"unknown operating point {shown(operating_point)}", f"This bundle has: {', '.join(points)}."
                )
            thresholds = points[operating_point].thresholds
        elif isinstance(threshold, (tuple, list)):
            thresholds = tuple(threshold)
        else:
            thresholds = (threshold,) * self._manifest.n_early_exits
        with self._turning:
            # One assignment, so that a call in another thread sees the old policy or the new one.
            self._policy = self._compile(operating_point, thresholds, watch)

    def _compile(self, name: Optional[str], thresholds: Thresholds, watch: Optional[Band]) -> ExecutionPlan:
        """The policy, with the counters of its operating point; thresholds without a name start new ones."""
        fresh = Stats(len(self._manifest.exits))
        stats = fresh if name is None else self._stats.get(name, fresh)
        policy = ExecutionPlan(self._manifest, thresholds, name, watch, stats)
        before: Optional[ExecutionPlan] = getattr(self, "_policy", None)
        if before is not None and (before.name, before.thresholds) == (name, thresholds):
            policy.stats = before.stats
        else:
            stats.start_window()
        self._stats[name or CUSTOM] = policy.stats
        return policy

    @overload
    def preprocess(self, raw: Raw) -> np.ndarray: ...

    @overload
    def preprocess(self, raw: Mapping[str, Raw]) -> dict[str, np.ndarray]: ...

    def preprocess(self, raw: Union[Raw, Mapping[str, Raw]]) -> Union[np.ndarray, dict[str, np.ndarray]]:
        """Raw data to what the model takes, as the bundle says: one array, or `{input name: raw}` to the same.

        An image is uint8 (H, W) or (H, W, C) of the model's size; see `eetool_runtime.preprocess.preprocess`.
        """
        finished: Union[np.ndarray, dict[str, np.ndarray]] = preprocess_all(raw, self._manifest.inputs)
        return finished

    def __call__(self, inputs: Arrays, *, deadline_ms: Optional[float] = None, min_exit: int = 0) -> Result:
        """Answer one input at batch 1.

        Args:
            inputs: one array, or `{input name: array}` where the model has several inputs.
            deadline_ms: go no deeper than is sure enough to be done by then, counted from the beginning of this call.
                The first exit is always run. Where no gate had fired, `result.gated` is False.
            min_exit: do not leave before this exit; negative counts from the end, so -1 is full depth.

        Raises:
            InputError: a name, shape or dtype is off, or values are not finite.
            BackendError: a graph failed while it ran.
            UsageError: there is no such exit, or the deadline is no positive number.
        """
        start = self._clock()
        self._origin.check()
        policy = self._policy
        accepted = self._accept(inputs)
        lane = self._lanes.take()
        try:
            lane.enter(accepted)
            if deadline_ms is not None or type(min_exit) is not int or min_exit or policy.watch is not None:
                return self._guided(lane, policy, start, deadline_ms, min_exit)
            (read, calls, _), seen = lane, []
            for place, gate, macs, _ in policy.steps:  # noqa: B007 - read behind the loop
                calls[place]()
                if gate is not None:
                    confidence = read(gate.confidence).item()
                    seen.append((gate.exit_index, confidence))
                    if confidence >= gate.threshold:
                        break
            # Behind the last step is the final exit: whatever its confidence, even NaN, the input leaves there.
            assert gate is not None
            logits = read(gate.logits)[0].copy()
        except EarlyExitError:
            raise
        except Exception as error:  # engines raise a dozen unrelated types
            raise self._failed(error) from error
        finally:
            self._lanes.give_back(lane)
        latency_ms = (self._clock() - start) / 1e6
        policy.stats.record(gate.exit_index, confidence, macs, latency_ms, seen)
        return self._result(gate, confidence, logits, latency_ms)

    def _guided(
        self, lane: ExecutionContext, policy: ExecutionPlan, start: int, deadline_ms: Optional[float], min_exit: int
    ) -> Result:
        limit_ms = None if deadline_ms is None else _positive(deadline_ms)
        end = None if limit_ms is None else start + round(min(limit_ms * 1e6, _LONGEST_NS))

        def walk(stretch: PlanSection) -> float:
            for step in stretch.steps:
                lane.calls[step.place]()
            return float(lane.read(stretch.gate.confidence).item())

        found = run_guarded(policy, walk, min_exit=min_exit, pace=self._pace, clock=self._clock, start=start, end=end)
        logits = lane.read(found.gate.logits)[0].copy()
        latency_ms = (self._clock() - start) / 1e6
        late = limit_ms is not None and latency_ms > limit_ms
        gate, confidence = found.gate, found.confidence
        policy.stats.record(gate.exit_index, confidence, found.macs, latency_ms, found.seen, found.gated, late)
        return self._result(gate, confidence, logits, latency_ms, found.gated)

    def batch(self, inputs: Arrays) -> list[Result]:
        """Answer many inputs at once, each leaving where it would leave alone; results in the order of the inputs.

        Behind an exit only those run on that have not left. `latency_ms` is the time from the beginning of the batch
        until the input left. Variants of one batch size, and policies with a watchdog, answer one by one.

        Raises:
            InputError: as `__call__` does.
        """
        start = self._clock()
        self._origin.check()
        policy = self._policy
        tensors = self._check(inputs, any_batch=True)
        n = len(tensors[self._first_input])
        with self._running():
            if policy.watch is None and can_compact(self._manifest, self._fitted):
                return self._in_groups(policy, start, {**tensors, **self._scalars}, n)
            return [self._alone(policy, {name: t[i : i + 1] for name, t in tensors.items()}) for i in range(n)]

    def _alone(self, policy: ExecutionPlan, tensors: Tensors) -> Result:
        """One input of a batch, by the policy that the batch began with."""
        start = self._clock()
        lane = self._lanes.take()
        try:
            lane.enter(tensors)
            return self._guided(lane, policy, start, None, 0)
        finally:
            self._lanes.give_back(lane)

    def _in_groups(self, policy: ExecutionPlan, start: int, tensors: Tensors, n: int) -> list[Result]:
        results: list[Optional[Result]] = [None] * n
        for gate, macs, rows in leave_in_groups(policy.steps, self._in_order, tensors, n, self._manifest, self._fitted):
            latency_ms = (self._clock() - start) / 1e6
            for row, confidence, logits, seen in rows:
                policy.stats.record(gate.exit_index, confidence, macs, latency_ms, seen)
                results[row] = self._result(gate, confidence, logits, latency_ms)
        return [result for result in results if result is not None]

    def every_exit(self, inputs: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
        """Logits (N, classes) and confidence (N,) of every exit, none skipped, for a batch of any size."""
        self._origin.check()
        tensors = self._check(inputs, any_batch=True)
        n = len(tensors[self._first_input])
        with self._running():
            if self._fitted.batch is None:
                return self._every_exit(tensors, n)
            parts = [self._every_exit({name: t[i : i + 1] for name, t in tensors.items()}, 1) for i in range(n)]
        return [(np.concatenate([p[0] for p in e]), np.concatenate([p[1] for p in e])) for e in zip(*parts)]

    def _every_exit(self, inputs: Tensors, rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
        tensors = {**inputs, **self._scalars}
        for graph in self._in_order:
            run_component(graph, tensors, self._said, rows)
        return [(tensors[e.logits], tensors[e.confidence]) for e in self._manifest.exits]

    def stats(self) -> dict[str, Any]:
        """How the model does at the operating point in use, and under `operating_points` at all it was used at.

        See `Stats.snapshot` for the figures. Thresholds without a name are counted as `custom`, anew whenever they
        change. Plain JSON; `prometheus()` says the same to Prometheus.
        """
        self._origin.check()
        policy = self._policy  # read once: another thread may turn the knob meanwhile
        here = policy.name or CUSTOM
        points, figures = self._fitted.operating_points, {}
        for name, stats in {**self._stats, here: policy.stats}.items():
            expected = points[name].expected if name in points else None
            figures[name] = stats.snapshot(self._unsplit_macs, expected)
        return {
            **figures[here],
            "operating_point": policy.name,
            "model": self._manifest.name,
            "variant": self.variant,
            "threads": self.threads.count,
            "pool": self.threads.pool,
            "operating_points": figures,
        }

    def prometheus(self) -> str:
        """`stats()` in the text format of Prometheus, version 0.0.4."""
        return prometheus_text(self.stats())

    def recent_ms(self, calls: int = 100) -> list[float]:
        """Latencies of at most the last `calls` calls since the knob was moved; what a latency budget looks at.

        Raises:
            UsageError: `calls` is no positive integer.
        """
        self._origin.check()
        count = whole(calls)
        if count is None or count < 1:
            raise UsageError(f"calls must be a positive integer, not {shown(calls)}")
        return self._policy.stats.recent_ms(count)

    def memory(self) -> dict[str, Any]:
        """What the model takes: `loaded` and `not_loaded` (component names), `loaded_bytes` and `total_bytes` (sizes of
        their files; engines need more), and `process_bytes` (resident memory of this process; None where unknown).
        """
        sizes = {name: self._manifest.files[g.path].size_bytes for name, g in self._fitted.components.items()}
        loaded = [name for name, graph in self._graphs.items() if getattr(graph, "loaded", True)]
        return {
            "loaded": loaded,
            "not_loaded": [name for name in sizes if name not in loaded],
            "loaded_bytes": sum(sizes[name] for name in loaded),
            "total_bytes": sum(sizes.values()),
            "process_bytes": resident_bytes(),
        }

    @contextmanager
    def _running(self) -> Iterator[None]:
        """What engines raise becomes a BackendError."""
        try:
            yield
        except EarlyExitError:
            raise
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> BackendError:
        return BackendError(f"{self.bundle.path.name}: {self.variant} could not run: {error}")

    def _accept(self, inputs: Arrays) -> Tensors:
        """Checked inputs by name. Arrays that look like the last ones that passed are only tested for NaN."""
        tensors = {self._first_input: inputs} if type(inputs) is np.ndarray else inputs
        known = self._accepted
        if known and type(tensors) is dict and len(tensors) == len(known):
            for name, shape, dtype in known:
                array = tensors.get(name)
                if (
                    type(array) is not np.ndarray
                    or array.shape != shape
                    or array.dtype != dtype
                    or not is_finite(array)
                ):
                    break
            else:
                return tensors
        checked = self._check(inputs, any_batch=False)
        self._accepted = [(name, array.shape, array.dtype) for name, array in checked.items()]
        return checked

    def _check(self, inputs: Arrays, any_batch: bool) -> Tensors:
        specs = self._manifest.inputs
        given = name_inputs(inputs, specs)
        tensors = {s.name: check_array(given[s.name], s, any_batch=any_batch) for s in specs}
        if self._symbols_shared:
            check_symbols(tensors, specs)
        return tensors

    def _result(
        self, gate: Gate, confidence: float, logits: np.ndarray, latency_ms: float, gated: bool = True
    ) -> Result:
        index = gate.exit_index
        return Result(index, confidence, logits, self._fitted.temperatures[index], self._labels, latency_ms, gated)


def _positive(deadline_ms: object) -> float:
    found = real(deadline_ms)
    if found is None or not 0 < found < math.inf:
        raise UsageError(f"deadline_ms must be a positive number, not {shown(deadline_ms)}")
    return found
