"""Loaded models: components run in order until the first gate fires."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Optional, Union, overload

import numpy as np

from .argument_checks import as_int, short_repr
from .backends.base import ExecutionContext, Graph, Threads
from .batch import can_compact, run_batch, run_every_exit
from .bundle import Bundle
from .deadline import Clock, LatencyEstimator, deadline_on_clock, run_guarded
from .errors import BackendError, EarlyExitError, UsageError
from .execution_contexts import ContextPool
from .execution_plan import Band, ExecutionPlan, Gate, PlanSection, Thresholds, chosen_thresholds, unsplit_macs
from .fork_guard import ForkGuard
from .input_checker import Arrays, InputChecker, Tensors
from .manifest import OperatingPoint, StreamPolicy, all_tensors, scalars
from .memory import memory_figures
from .preprocess import Raw, are_views, preprocess_all
from .prometheus import prometheus_text
from .result import Result
from .stats import Stats
from .views import View

if TYPE_CHECKING:
    from .stream import FrameStream

CUSTOM = "custom"  # operating point under which unnamed thresholds are counted


class Model:
    """A loaded bundle, which several threads may call at once.

    It belongs to the process that loaded it. In a child forked later, its methods raise BackendError.

    Attributes:
        bundle: that it was loaded from.
        variant: name of the variant in use, such as `onnx/fp32`.
        threads: that the graphs use.
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
        """Make a model of opened graphs; applications call `eetool_runtime.load` instead.

        Args:
            bundle: an opened bundle.
            variant: name of the variant that `graphs` belong to.
            graphs: by name of the component.
            threads: that the graphs use.
            component_ms: median latency of each component on this machine, where known.
            clock: time in nanoseconds.
        """
        self.bundle = bundle
        self.variant = variant
        self.threads = threads
        self._manifest = bundle.manifest
        self._graphs = graphs
        self._in_order = [graphs[c.name] for c in bundle.manifest.components]
        self._clock = clock
        self._latency = LatencyEstimator(component_ms or {})
        self._fitted = bundle.manifest.variants[variant]
        self._scalars: Tensors = {
            name: np.array(value, np.float32) for name, value in scalars(self._manifest, self._fitted).items()
        }
        self._labels = self._manifest.labels
        self._stats: dict[str, Stats] = {}
        self._use_lock = threading.Lock()
        self._fork_guard = ForkGuard()
        self._declared = all_tensors(self._manifest, variant)
        self._first_input = self._manifest.inputs[0].name
        checker = InputChecker(self._manifest.inputs)
        self._accept, self._check = checker.accept, checker.check  # bound here: every call needs one of them
        self._has_views = are_views(self._manifest.inputs)
        self._unsplit_macs = unsplit_macs(self._manifest)
        self._contexts = ContextPool(self._manifest, variant, self._in_order, self._scalars)
        self.use(self._manifest.default_operating_point)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._labels

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Operating points of the variant in use by name, with their expected figures."""
        return dict(self._fitted.operating_points)

    @property
    def thresholds(self) -> Thresholds:
        """Thresholds in use, one per early exit; None never fires."""
        return self._plan.thresholds

    @property
    def operating_point(self) -> Optional[str]:
        """Name of the operating point in use, or None after `use(threshold=...)`."""
        return self._plan.name

    @property
    def watch(self) -> Optional[Band]:
        """Band of the watchdog in use, see `use`."""
        return self._plan.watch

    @property
    def setting(self) -> tuple[Optional[str], Optional[Band]]:
        """`operating_point` and `watch`, read together while other threads may call `use`."""
        plan = self._plan
        return plan.name, plan.watch

    def use(
        self,
        operating_point: Optional[str] = None,
        *,
        threshold: Union[float, Thresholds, None] = None,
        watch: Optional[Band] = None,
    ) -> None:
        """Select an operating point, or set thresholds directly.

        Running calls finish under the previous setting.

        Args:
            operating_point: a name from `operating_points`.
            threshold: one for every early exit or a sequence with one for each, in [0, 1]; above 1 or None never fires.
            watch: band (low, high) of a watchdog. An input whose confidence at an early exit is in the band, bounds
                included, continues to full depth, whether or not the gate fires.

        Raises:
            UsageError: the name is unknown, a number is out of range, or not exactly one of both was given.
        """
        self._fork_guard.check()
        thresholds = chosen_thresholds(self._manifest, self._fitted, operating_point, threshold)
        with self._use_lock:
            # A single assignment: a call in another thread reads the old plan or the new one.
            self._plan = self._make_plan(operating_point, thresholds, watch)

    def _make_plan(self, name: Optional[str], thresholds: Thresholds, watch: Optional[Band]) -> ExecutionPlan:
        """Return a plan with the counters of its operating point; unnamed thresholds start new counters."""
        new = Stats(len(self._manifest.exits))
        stats = new if name is None else self._stats.get(name, new)
        plan = ExecutionPlan(self._manifest, thresholds, name, watch, stats)
        before: Optional[ExecutionPlan] = getattr(self, "_plan", None)
        if before is not None and (before.name, before.thresholds) == (name, thresholds):
            plan.stats = before.stats
        else:
            stats.start_window()
        self._stats[name or CUSTOM] = plan.stats
        return plan

    @overload
    def preprocess(self, raw: Raw) -> np.ndarray: ...

    @overload
    def preprocess(self, raw: Mapping[str, Raw]) -> dict[str, np.ndarray]: ...

    def preprocess(self, raw: Union[Raw, Mapping[str, Raw]]) -> Union[np.ndarray, dict[str, np.ndarray]]:
        """Convert raw data to model inputs, with the preprocessing of the bundle.

        Args:
            raw: one input, or `{input name: raw}` for several; one picture for inputs that are views of it. An image
                is uint8 (H, W) or (H, W, C), a path or the bytes of a file, of any size where the bundle has a rule;
                see `eetool_runtime.preprocess.preprocess`.

        Returns:
            one array at batch 1, or a dictionary of them. Of one picture for several views only the first is made; the
            others are made inside the call that reaches a component which reads them.

        Raises:
            InputError: an input has another dtype or shape, or a file cannot be read (BackendError: without Pillow).
        """
        inputs: Union[np.ndarray, dict[str, np.ndarray]] = preprocess_all(raw, self._manifest.inputs)
        return inputs

    def __call__(self, inputs: Arrays, *, deadline_ms: Optional[float] = None, min_exit: int = 0) -> Result:
        """Run one input at batch 1.

        Args:
            inputs: one array, or `{input name: array}` where the model has several inputs.
            deadline_ms: from the beginning of this call. Sections that are not expected to finish in time do not run;
                the first exit always runs. If no gate fired until then, `result.gated` is False.
            min_exit: earliest exit to leave at; negative counts from the end, so -1 is full depth.

        Raises:
            InputError: a name, shape or dtype is wrong, or values are not finite.
            BackendError: a graph failed.
            UsageError: the exit does not exist, or the deadline is not a positive number.
        """
        start = self._clock()
        self._fork_guard.check()
        plan = self._plan
        accepted = self._accept(inputs)
        context = self._contexts.acquire()
        try:
            if self._has_views and any(isinstance(value, View) for value in accepted.values()):
                return self._run_guarded(self._contexts.begin(context, accepted), plan, start, deadline_ms, min_exit)
            context.enter(accepted)
            if deadline_ms is not None or type(min_exit) is not int or min_exit or plan.watch is not None:
                return self._run_guarded(context, plan, start, deadline_ms, min_exit)
            (read, calls, _), seen = context, []
            for position, gate, macs, _ in plan.steps:  # noqa: B007 - read after the loop
                calls[position]()
                if gate is not None:
                    confidence = read(gate.confidence).item()
                    seen.append((gate.exit_index, confidence))
                    if confidence >= gate.threshold:
                        break
            # The last step is the final exit: the input leaves there whatever its confidence, even NaN.
            assert gate is not None
            logits = read(gate.logits)[0].copy()
        except EarlyExitError:
            raise
        except Exception as error:  # engines raise a dozen unrelated types
            raise self._failed(error) from error
        finally:
            self._contexts.release(context)
        latency_ms = (self._clock() - start) / 1e6
        plan.stats.record(gate.exit_index, confidence, macs, latency_ms, seen)
        return self._result(gate, confidence, logits, latency_ms)

    def _run_guarded(
        self, context: ExecutionContext, plan: ExecutionPlan, start: int, deadline_ms: Optional[float], min_exit: int
    ) -> Result:
        limit_ms, end = deadline_on_clock(deadline_ms, start)

        def run_section(section: PlanSection) -> float:
            for step in section.steps:
                context.calls[step.position]()
            return float(context.read(section.gate.confidence).item())

        outcome = run_guarded(
            plan, run_section, min_exit=min_exit, latency=self._latency, clock=self._clock, start=start, end=end
        )
        logits = context.read(outcome.gate.logits)[0].copy()
        latency_ms = (self._clock() - start) / 1e6
        late = limit_ms is not None and latency_ms > limit_ms
        gate, confidence = outcome.gate, outcome.confidence
        plan.stats.record(gate.exit_index, confidence, outcome.macs, latency_ms, outcome.seen, outcome.gated, late)
        return self._result(gate, confidence, logits, latency_ms, outcome.gated)

    def batch(self, inputs: Arrays) -> list[Result]:
        """Run many inputs together; each leaves at the exit where it would leave alone.

        After an exit, only the inputs that have not left continue. `latency_ms` of a result is the time from the
        beginning of the batch until that input left. Variants of a fixed batch size, and plans with a watchdog, run
        the inputs one by one.

        Returns:
            one result per input, in the order of the inputs.

        Raises:
            InputError: as `__call__`.
        """
        start = self._clock()
        self._fork_guard.check()
        plan = self._plan
        tensors = self._check(inputs, any_batch=True)
        n = len(tensors[self._first_input])
        with self._backend_errors():
            if plan.watch is None and can_compact(self._manifest, self._fitted):
                return self._run_batch(plan, start, {**tensors, **self._scalars}, n)
            return [self._run_one(plan, {name: t[i : i + 1] for name, t in tensors.items()}) for i in range(n)]

    def _run_one(self, plan: ExecutionPlan, tensors: Tensors) -> Result:
        """Run one input of a batch under the plan that the batch began with."""
        start = self._clock()
        context = self._contexts.acquire()
        try:
            context.enter(tensors)
            return self._run_guarded(context, plan, start, None, 0)
        finally:
            self._contexts.release(context)

    def _run_batch(self, plan: ExecutionPlan, start: int, tensors: Tensors, n: int) -> list[Result]:
        results: list[Optional[Result]] = [None] * n
        for gate, macs, rows in run_batch(plan.steps, self._in_order, tensors, n, self._manifest, self._fitted):
            latency_ms = (self._clock() - start) / 1e6
            for row, confidence, logits, seen in rows:
                plan.stats.record(gate.exit_index, confidence, macs, latency_ms, seen)
                results[row] = self._result(gate, confidence, logits, latency_ms)
        return [result for result in results if result is not None]

    def stream(
        self,
        point: Optional[str] = None,
        *,
        policy: Optional[StreamPolicy] = None,
        base_rates: Optional[Sequence[float]] = None,
        period_s: Optional[float] = None,
    ) -> FrameStream:
        """Return a new stream, for inputs in order from one place; a model may have many. See docs/streams.md.

        Args:
            point: an operating point of the bundle's block `stream`; by default its default.
            policy: instead of a point. Base rates and period are then by default those of the bundle.
            base_rates: share of each class in training.
            period_s: from one frame to the next, for statistics of frames without times.

        Raises:
            UsageError: the bundle has no such point, or an argument is invalid.
        """
        self._fork_guard.check()
        from .stream import FrameStream, StreamEngine, choose_setup  # most models have no streams

        engine = StreamEngine(
            self._accept, self._contexts, self._failed, self._latency, self._clock, self._fork_guard.check
        )
        setup = choose_setup(self._manifest, self.variant, point, policy, base_rates, period_s)
        return FrameStream(engine, self._manifest, self.variant, setup)

    def every_exit(self, inputs: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return logits (N, classes) and confidence (N,) of every exit, none skipped, for a batch of any size."""
        self._fork_guard.check()
        tensors = self._check(inputs, any_batch=True)
        n = len(tensors[self._first_input])
        with self._backend_errors():
            if self._fitted.batch is None:
                return self._every_exit(tensors, n)
            parts = [self._every_exit({name: t[i : i + 1] for name, t in tensors.items()}, 1) for i in range(n)]
        return [(np.concatenate([p[0] for p in e]), np.concatenate([p[1] for p in e])) for e in zip(*parts)]

    def _every_exit(self, inputs: Tensors, rows: int) -> list[tuple[np.ndarray, np.ndarray]]:
        tensors = {**inputs, **self._scalars}
        return run_every_exit(self._manifest.exits, self._in_order, tensors, self._declared, rows)

    def stats(self) -> dict[str, Any]:
        """Return the statistics of the operating point in use, and under `operating_points` those of all points used.

        See `Stats.snapshot` for the figures. Unnamed thresholds are counted as `custom`, from 0 whenever they change.
        The result is plain JSON; `prometheus()` returns the same figures as text.
        """
        self._fork_guard.check()
        plan = self._plan  # read once: another thread may call `use`
        current = plan.name or CUSTOM
        points, figures = self._fitted.operating_points, {}
        for name, stats in {**self._stats, current: plan.stats}.items():
            expected = points[name].expected if name in points else None
            figures[name] = stats.snapshot(self._unsplit_macs, expected)
        return {
            **figures[current],
            "operating_point": plan.name,
            "model": self._manifest.name,
            "variant": self.variant,
            "threads": self.threads.count,
            "pool": self.threads.pool,
            "operating_points": figures,
        }

    def prometheus(self) -> str:
        """Return `stats()` in the text format of Prometheus, version 0.0.4."""
        return prometheus_text(self.stats())

    def recent_ms(self, calls: int = 100) -> list[float]:
        """Return the latencies of at most the last `calls` calls since the operating point was selected.

        Raises:
            UsageError: `calls` is not a positive integer.
        """
        self._fork_guard.check()
        count = as_int(calls)
        if count is None or count < 1:
            raise UsageError(f"calls must be a positive integer, not {short_repr(calls)}")
        return self._plan.stats.recent_ms(count)

    def memory(self) -> dict[str, Any]:
        """Return the memory in use, see `memory_figures`."""
        return memory_figures(self.bundle, self._fitted, self._graphs)

    @contextmanager
    def _backend_errors(self) -> Iterator[None]:
        """Convert exceptions of an engine to BackendError."""
        try:
            yield
        except EarlyExitError:
            raise
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> BackendError:
        return BackendError(f"{self.bundle.path.name}: {self.variant} could not run: {error}")

    def _result(
        self, gate: Gate, confidence: float, logits: np.ndarray, latency_ms: float, gated: bool = True
    ) -> Result:
        index = gate.exit_index
        return Result(index, confidence, logits, self._fitted.temperatures[index], self._labels, latency_ms, gated)
