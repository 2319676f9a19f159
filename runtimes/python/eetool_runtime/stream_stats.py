"""Statistics of one stream: exits, held answers, switches, reaction to changes of the class, and drift."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from .manifest import ReachedConfidence, StreamExpected
from .stats import percentiles
from .stream_filter import NO_EXIT, FrameAnswer

_WINDOW = 2_000  # frames whose latencies and probabilities are kept
_MAX_REACTIONS = 1_000
_MIN_INDEPENDENT = 30  # frames, below which no drift is computed
_MAX_CORRELATION = 0.99


class StreamStats:
    """Thread-safe counters of one stream; sizes do not grow with the number of frames."""

    def __init__(self, n_exits: int, unsplit_macs: int, expected: Optional[StreamExpected]) -> None:
        self._lock = threading.Lock()
        self._unsplit_macs, self._expected = unsplit_macs, expected
        self._exits = [0] * n_exits
        self._counts = dict.fromkeys(
            ("frames", "without_evidence", "held", "skipped", "switches", "restarts", "ungated", "overruns"), 0
        )
        self._macs = 0
        self._seconds: Optional[float] = 0.0  # between frames of one sequence
        self._latency_ms: deque[float] = deque(maxlen=_WINDOW)
        self._seen = np.full((_WINDOW, n_exits), np.nan, np.float32)
        self._label: Optional[int] = None  # of the frame before, in the same sequence
        self._truth = Reactions()

    def restart(self) -> None:
        """Begin a new sequence: no change is counted from the frame before."""
        with self._lock:
            self._begin()

    def _begin(self) -> None:
        self._label = None
        self._truth.restart()
        self._counts["restarts"] += 1

    def record(
        self,
        answer: FrameAnswer,
        macs: int,
        latency_ms: float,
        overrun: bool,
        seen: Sequence[tuple[int, float]],
        step_s: Optional[float],
        truth: Optional[int],
    ) -> None:
        """Record one frame.

        Args:
            answer: to it.
            macs: of all components that ran.
            latency_ms: of the call.
            overrun: True where the call took longer than its deadline.
            seen: (exit, largest calibrated probability) of the exits that count for the drift test.
            step_s: seconds since the frame before; None where unknown.
            truth: index of the right class, if known.
        """
        with self._lock:
            if answer.restarted:
                self._begin()
            row, counts = self._seen[window_row(self._counts["frames"])], self._counts
            row[:] = np.nan
            for index, probability in seen:
                row[index] = probability
            counts["frames"] += 1
            counts["without_evidence"] += answer.evidence_exit == NO_EXIT and not answer.skipped
            counts["held"] += answer.raw_label is not None and answer.raw_label != answer.label
            counts["skipped"] += answer.skipped
            counts["ungated"] += not answer.gated
            counts["overruns"] += overrun
            switched = self._label is not None and answer.label != self._label
            counts["switches"] += switched
            if self._label is not None and self._seconds is not None:
                self._seconds = None if step_s is None else self._seconds + step_s
            self._label = answer.label
            if answer.exit != NO_EXIT:
                self._exits[answer.exit] += 1
            self._macs += macs
            self._latency_ms.append(latency_ms)
            self._truth.add(truth, answer.label, step_s, switched)

    def snapshot(self) -> dict[str, Any]:
        """Return the figures since the stream was made; shares are None before the first frame.

        `exit_counts` are of the frames where an exit ran; `without_evidence` counts those that were answered from the
        frames before alone. `held` are answers that differ from that of the exit alone. `latency_ms` and `drift` cover
        the last 2,000 frames. `reaction` is None where no right class was given.
        """
        with self._lock:
            counts, exits, seconds = dict(self._counts), list(self._exits), self._seconds
            latencies, seen = np.array(self._latency_ms), self._seen[: min(counts["frames"], _WINDOW)].copy()
            if counts["frames"] > _WINDOW:  # in order of time, as the test needs
                seen = np.roll(seen, -window_row(counts["frames"]), axis=0)
            reaction, macs = self._truth.figures(), self._macs
        frames = counts["frames"]
        expected = self._expected
        return {
            **counts,
            "exit_counts": exits,
            "exit_shares": [c / frames for c in exits] if frames else None,
            "exit_shares_expected": list(expected.exit_shares) if expected else None,
            "held_share": counts["held"] / frames if frames else None,
            "switches_per_minute": 60 * counts["switches"] / seconds if seconds else None,
            "mean_macs": macs / frames if frames else None,
            "compute_saved": 1 - macs / frames / self._unsplit_macs if frames and self._unsplit_macs else None,
            "latency_ms": percentiles(latencies) if frames else None,
            "reaction": reaction,
            "drift": stream_drift(seen, expected.reached) if expected else None,
        }


def window_row(frames: int) -> int:
    """Return the row of the window for the frame that follows so many."""
    return frames % _WINDOW


class Reactions:
    """Time from a change of the right class to the first answer that has it, and switches to a wrong class.

    A class that ends before any answer had it, by another class or the end of the sequence, is `missed`; all its time
    counts as its reaction, which is then a lower bound. The first class of a sequence is no change.
    """

    def __init__(self) -> None:
        self._frames = self._correct = self._changes = self._missed = self._false_switches = 0
        self._seconds: Optional[float] = 0.0
        self._reactions_s: deque[Optional[float]] = deque(maxlen=_MAX_REACTIONS)
        self._step_s: Optional[float] = None
        self._forget()

    def restart(self) -> None:
        """Begin a new sequence."""
        if self._waits:
            self._miss(self._step_s)  # the last frame lasted as long as the one before
        self._forget()

    def _forget(self) -> None:
        self._truth: Optional[int] = None
        self._waiting_s: Optional[float] = None
        self._waits = False

    def _miss(self, step_s: Optional[float]) -> None:
        self._missed += 1
        self._reactions_s.append(None if step_s is None or self._waiting_s is None else self._waiting_s + step_s)

    def add(self, truth: Optional[int], label: int, step_s: Optional[float], switched: bool) -> None:
        """Add one frame: its right class, its answer, seconds since the frame before, and if the answer changed."""
        if truth is None:
            self._forget()  # what happened meanwhile is unknown
            return
        self._step_s = step_s
        if self._truth is not None and truth != self._truth:
            if self._waits:
                self._miss(step_s)
            self._changes += 1
            self._waits, self._waiting_s = True, 0.0
        elif self._waits:
            self._waiting_s = None if step_s is None or self._waiting_s is None else self._waiting_s + step_s
        if self._waits and label == truth:
            self._reactions_s.append(self._waiting_s)
            self._waits = False
        if self._truth is not None:
            self._false_switches += switched and label != truth
            self._seconds = None if step_s is None or self._seconds is None else self._seconds + step_s
        self._frames += 1
        self._correct += label == truth
        self._truth = truth

    def figures(self) -> Optional[dict[str, Any]]:
        """Return the figures of all frames with a right class, or None without any."""
        if not self._frames:
            return None
        known = np.array([s for s in self._reactions_s if s is not None])
        return {
            "labelled_frames": self._frames,
            "accuracy": self._correct / self._frames,
            "changes": self._changes,
            "missed": self._missed,
            "mean_s": float(known.mean()) if len(known) else None,
            "p95_s": percentiles(known, (95,))["p95"] if len(known) else None,
            "false_switches": self._false_switches,
            "false_switches_per_minute": 60 * self._false_switches / self._seconds if self._seconds else None,
        }


def stream_drift(seen: np.ndarray, expected: Sequence[Optional[ReachedConfidence]]) -> list[Optional[dict[str, Any]]]:
    """Test at each exit whether the mean probability of its class differs from the recorded one.

    Frames of a stream resemble each other. With the correlation r of successive frames, n of them are worth
    n (1 - r) / (1 + r) independent ones (exact for an autoregressive series of order 1); so are the recorded frames.

    Args:
        seen: (frames, exits) in order of time, largest calibrated probabilities; NaN where an exit did not see a frame.
        expected: per exit, the recorded figures.

    Returns:
        per exit `{n, independent, mean, expected_mean, z, p}` as of `confidence_drift`, or None where fewer than 30
        independent frames are left or nothing is recorded.
    """
    return [_test(seen[:, k], recorded) if recorded is not None else None for k, recorded in enumerate(expected)]


def _test(values: np.ndarray, recorded: ReachedConfidence) -> Optional[dict[str, Any]]:
    values = values[np.isfinite(values)].astype(np.float64)
    n = len(values)
    if n < _MIN_INDEPENDENT or not values.std():
        return None
    centred = values - values.mean()
    correlation = float(np.clip((centred[1:] * centred[:-1]).sum() / (centred**2).sum(), 0, _MAX_CORRELATION))
    worth = (1 - correlation) / (1 + correlation)
    if n * worth < _MIN_INDEPENDENT:
        return None
    variance = float(values.var(ddof=1)) / (n * worth) + recorded.confidence_std**2 / max(recorded.n * worth, 1)
    mean = float(values.mean())
    z = (mean - recorded.confidence_mean) / math.sqrt(variance)
    p = math.erfc(abs(z) / math.sqrt(2))
    figures = {"n": n, "independent": n * worth, "mean": mean, "expected_mean": recorded.confidence_mean}
    return {**figures, "z": z, "p": p}
