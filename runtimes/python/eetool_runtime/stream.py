"""Streams: inputs in order from one place, such as frames of a camera, answered with what the last ones showed.

The rule is in `stream_filter`; this module runs a model's components for it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from .argument_checks import as_float, short_reason, short_repr
from .backends.base import ExecutionContext
from .deadline import Clock, LatencyEstimator, deadline_on_clock, sections_in_time
from .errors import BackendError, EarlyExitError, NotFiniteError, UsageError
from .execution_contexts import ContextPool
from .execution_plan import ExecutionPlan, PlanSection, unsplit_macs
from .input_checker import Arrays, Tensors
from .manifest import NEVER, Manifest, StreamExpected, StreamPolicy
from .near_names import known_names
from .records import dataclass
from .result import Result
from .stats import Stats
from .stream_checks import policy_problem, rates_problem
from .stream_filter import FrameAnswer, StreamFilter, calibrated
from .stream_stats import StreamStats


class StreamResult(Result):
    """Answer of a stream to one frame.

    Attributes:
        exit: deepest exit that ran, or -1 where none did: the frame was missing or not finite.
        confidence: probability of the class after all frames so far.
        logits: of this exit for this frame alone, float32 (classes,); NaN where none ran.
        posterior: probabilities of the classes after all frames so far, float64 (classes,), read-only.
        raw_label: name of the class of this exit for this frame alone; None where its logits are not finite.
        skipped: True where the answer to the frame before is repeated, because exit 0 shows the same scene.
        restarted: True where this frame began a new sequence, because of its time.

    `index` and `label` are the class with the largest posterior; `probabilities` are those of this exit alone.
    """

    __slots__ = ("_index", "posterior", "raw_label", "restarted", "skipped")

    def __init__(
        self,
        answer: FrameAnswer,
        logits: Optional[np.ndarray],
        temperatures: tuple[float, ...],
        labels: tuple[str, ...],
        latency_ms: float,
    ) -> None:
        posterior = answer.state.posterior
        posterior.flags.writeable = False  # it is also the stream's
        temperature = 1.0 if logits is None else temperatures[answer.exit]
        if logits is None:
            logits = np.full(len(labels), np.nan, np.float32)
        confidence = float(posterior[answer.label])
        super().__init__(answer.exit, confidence, logits, temperature, labels, latency_ms, answer.gated)
        self.posterior = posterior
        self.raw_label = None if answer.raw_label is None else labels[answer.raw_label]
        self.skipped = answer.skipped
        self.restarted = answer.restarted
        self._index = answer.label

    @property
    def index(self) -> int:
        """Index of the class with the largest posterior."""
        return self._index

    @property
    def held(self) -> bool:
        """True where the class differs from that of this exit alone: the frames before outweigh it."""
        return self.raw_label is not None and self.raw_label != self.label

    def __repr__(self) -> str:
        held = f", held against {self.raw_label!r}" if self.held else ""
        return f"Stream{super().__repr__()[:-1]}{held})"


class StreamEngine(NamedTuple):
    """Parts of a model that a stream uses.

    Attributes:
        accept: checks inputs at batch 1.
        contexts: of its calls.
        failed: converts the exception of an engine.
        latency: estimates of sections, shared with other calls of the model.
        clock: time in nanoseconds.
        check_process: raises in a forked process.
    """

    accept: Callable[[Arrays], Tensors]
    contexts: ContextPool
    failed: Callable[[Exception], BackendError]
    latency: LatencyEstimator
    clock: Clock
    check_process: Callable[[], None]


@dataclass(frozen=True)
class StreamSetup:
    """Policy of a stream, and what is known of it.

    Attributes:
        point: its name in the bundle; None for a policy of the application.
        policy: of the stream.
        base_rates: of the classes in training.
        period_s: time from one frame to the next, if known.
        expected: figures of the point, if known.
    """

    point: Optional[str]
    policy: StreamPolicy
    base_rates: tuple[float, ...]
    period_s: Optional[float]
    expected: Optional[StreamExpected]


def choose_setup(
    manifest: Manifest,
    variant: str,
    point: Optional[str],
    policy: Optional[StreamPolicy],
    base_rates: Optional[Sequence[float]],
    period_s: Optional[float],
) -> StreamSetup:
    """Return the setup that the arguments of `Model.stream` name; raises UsageError."""
    block = manifest.stream
    if policy is not None:
        if point is not None:
            raise UsageError("stream() takes an operating point or a policy")
        if base_rates is None and block is None:
            raise UsageError("stream() needs base_rates= with a policy, as this bundle has none")
        known_s = block.period_s if block is not None else None
        given = block.base_rates if block is not None and base_rates is None else base_rates
        rates = _own_rates(given, len(manifest.labels))
        _check_own(policy, manifest.n_early_exits)
        return StreamSetup(None, policy, rates, _period(period_s, known_s), None)
    if base_rates is not None or period_s is not None:
        raise UsageError("stream() takes base_rates and period_s with a policy only")
    points = block.operating_points.get(variant, {}) if block is not None else {}
    if block is None or not points:
        what = "this bundle" if block is None else f"the variant {variant}"
        raise UsageError(f"{what} has no policy for streams", "Fit one with `eetool tune --stream`, or give policy=.")
    name = block.default_operating_point if point is None else point
    if not isinstance(name, str) or name not in points:
        hint = known_names(name, points, "For streams, this bundle has")
        raise UsageError(f"unknown operating point of streams {short_repr(name)}", hint)
    return StreamSetup(name, points[name].policy, block.base_rates, block.period_s, points[name].expected)


def _own_rates(given: Optional[Sequence[float]], classes: int) -> tuple[float, ...]:
    try:
        rates = tuple(float(rate) for rate in (() if given is None else given))
    except (TypeError, ValueError):
        raise UsageError(f"base_rates must be numbers, not {short_repr(given)}") from None
    problem = rates_problem(rates, classes)
    if problem is not None:
        raise UsageError(f"stream(): {problem}")
    return rates


def _check_own(policy: StreamPolicy, early_exits: int) -> None:
    if not isinstance(policy, StreamPolicy):
        raise UsageError(f"policy must be a StreamPolicy, not {short_repr(policy)}")
    try:
        problem = policy_problem(policy, early_exits)
    except TypeError as error:
        problem = short_reason(error)
    if problem is not None:
        raise UsageError(f"policy: {problem}")


def _period(given: Optional[float], known: Optional[float]) -> Optional[float]:
    if given is None:
        return known
    seconds = as_float(given)
    if seconds is None or not 0 < seconds < math.inf:
        raise UsageError(f"period_s must be a positive number, not {short_repr(given)}")
    return seconds


class _Frame:
    """What the exits of one frame gave so far."""

    __slots__ = ("logits", "macs", "seen")

    def __init__(self) -> None:
        self.logits: Optional[np.ndarray] = None
        self.macs = 0
        self.seen: list[tuple[int, float]] = []  # (exit, largest calibrated probability)


class FrameStream:
    """Answers to the frames of one source, in their order.

    A stream answers one frame at a time: a call during another one raises UsageError. Streams are independent, and
    several threads may run streams of one model at once, each its own. `Model.use` does not change them.

    Attributes:
        point: name of its operating point; None for a policy of the application.
        policy: its rule.
    """

    def __init__(self, engine: StreamEngine, manifest: Manifest, variant: str, setup: StreamSetup) -> None:
        """Make a stream before its first frame; applications call `Model.stream` instead."""
        self.point, self.policy = setup.point, setup.policy
        self._engine = engine
        self._labels = manifest.labels
        self._temperatures = manifest.variants[variant].temperatures
        self._rule = StreamFilter(setup.policy, np.array(setup.base_rates))
        exits = self._rule.exits(full_depth=False)
        thresholds = [NEVER if k in exits else None for k in range(manifest.n_early_exits)]
        self._plan = ExecutionPlan(manifest, tuple(thresholds), None, None, Stats(len(manifest.exits)))
        self._state = self._rule.start
        self._period_s = setup.period_s
        self._stats = StreamStats(len(manifest.exits), unsplit_macs(manifest), setup.expected)
        self._answering = threading.Lock()

    @property
    def posterior(self) -> np.ndarray:
        """Probabilities of the classes after the last frame, float64 (classes,); at the start the base rates."""
        return self._state.posterior.copy()

    def reset(self) -> None:
        """Forget the frames so far, as before another recording; statistics stay."""
        self._begin()
        try:
            self._state = self._rule.start
            self._stats.restart()
        finally:
            self._answering.release()

    def __call__(
        self,
        inputs: Optional[Arrays],
        *,
        time_s: Optional[float] = None,
        deadline_ms: Optional[float] = None,
        min_exit: int = 0,
        true_label: Optional[str] = None,
    ) -> StreamResult:
        """Return the answer to the next frame.

        Args:
            inputs: as of `Model.__call__`. A frame that is None, or not finite, is answered from the frames before.
            time_s: of the frame on any clock, in seconds. The stream restarts after a gap, or where time runs back.
            deadline_ms: as of `Model.__call__`.
            min_exit: as of `Model.__call__`.
            true_label: the right class where it is known, for `stats`.

        Raises:
            InputError: a name, shape or dtype is wrong.
            BackendError: a graph failed; the stream is as before the call.
            UsageError: an argument is invalid, or the stream answers another frame.
        """
        engine, start = self._engine, self._engine.clock()
        self._begin()
        try:
            limit_ms, end = deadline_on_clock(deadline_ms, start)
            time_s, truth = _check_time(time_s), self._class_index(true_label)
            sections = self._plan.sections(min_exit, anytime=end is not None)
            frame, accepted = _Frame(), self._accept(inputs)
            if accepted is None:
                answer = self._rule.step(self._state, lambda _: (), time_s)
            else:
                answer = self._answer(accepted, frame, sections, start, end, time_s)
            latency_ms = (engine.clock() - start) / 1e6
            late = limit_ms is not None and latency_ms > limit_ms
            counted = frame.seen if min_exit == 0 else []  # other frames arrive at later exits than in the figures
            self._stats.record(answer, frame.macs, latency_ms, late, counted, self._step_s(answer, time_s), truth)
            self._state = answer.state
        finally:
            self._answering.release()
        return StreamResult(answer, frame.logits, self._temperatures, self._labels, latency_ms)

    def _answer(
        self,
        inputs: Tensors,
        frame: _Frame,
        sections: Sequence[PlanSection],
        start: int,
        end: Optional[int],
        time_s: Optional[float],
    ) -> FrameAnswer:
        """Return the answer to a frame whose exits run while the rule asks for them."""
        engine = self._engine
        context = engine.contexts.acquire()
        try:
            begun = engine.contexts.begin(context, inputs)

            def run_exits(full_depth: bool) -> Iterable[tuple[int, np.ndarray]]:
                chosen = self._plan.sections(-1, anytime=False) if full_depth and end is None else sections
                return self._run_exits(begun, frame, chosen, start, end, full_depth)

            return self._rule.step(self._state, run_exits, time_s)
        except EarlyExitError:
            raise
        except Exception as error:  # engines raise a dozen unrelated types
            raise engine.failed(error) from error
        finally:
            engine.contexts.release(context)

    def _run_exits(
        self,
        context: ExecutionContext,
        frame: _Frame,
        sections: Sequence[PlanSection],
        start: int,
        end: Optional[int],
        full_depth: bool,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Run sections while the caller asks for them, and yield each exit with its calibrated probabilities."""

        def run_section(section: PlanSection) -> np.ndarray:
            for step in section.steps:
                context.calls[step.position]()
            logits: np.ndarray = context.read(section.gate.logits)[0].copy()
            return logits

        latency, clock = self._engine.latency, self._engine.clock
        for section, logits, macs in sections_in_time(sections, run_section, latency, clock, start, end):
            index = section.gate.exit_index
            frame.macs, frame.logits = macs, logits
            probabilities = calibrated(logits, self._temperatures[index])
            if not full_depth or index == len(self._temperatures) - 1:
                frame.seen.append((index, float(np.maximum.reduce(probabilities))))
            yield index, probabilities

    def _accept(self, inputs: Optional[Arrays]) -> Optional[Tensors]:
        """Return checked inputs, or None where there is no frame or it is not finite."""
        if inputs is None:
            return None
        try:
            return self._engine.accept(inputs)
        except NotFiniteError:
            return None

    def _step_s(self, answer: FrameAnswer, time_s: Optional[float]) -> Optional[float]:
        """Return the seconds since the frame before, by times or else by the period; None where unknown."""
        before_s = self._state.time_s
        if answer.restarted or time_s is None or before_s is None:
            return self._period_s
        return time_s - before_s

    def _class_index(self, label: Optional[str]) -> Optional[int]:
        if label is None:
            return None
        if label not in self._labels:
            hint = known_names(label, self._labels, "The classes are")
            raise UsageError(f"true_label is {short_repr(label)}, which is no class of this model", hint)
        return self._labels.index(label)

    def _begin(self) -> None:
        """Hold the stream for one frame; a second one at the same time is an error of the caller."""
        self._engine.check_process()
        if not self._answering.acquire(blocking=False):
            hint = "Frames have an order: call a stream from one thread, and make a stream for each source."
            raise UsageError("this stream is answering another frame", hint)

    def stats(self) -> dict[str, Any]:
        """Return the statistics of this stream, see `StreamStats.snapshot`; any thread may ask."""
        return {"operating_point": self.point, "period_s": self._period_s, **self._stats.snapshot()}


def _check_time(time_s: object) -> Optional[float]:
    if time_s is None:
        return None
    seconds = as_float(time_s)
    if seconds is None or not math.isfinite(seconds):
        raise UsageError(f"time_s must be a finite number of seconds, not {short_repr(time_s)}")
    return seconds
