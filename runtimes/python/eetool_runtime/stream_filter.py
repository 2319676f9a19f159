"""Decisions on a stream of frames: a Bayes filter whose classes change rarely.

The normative text, with worked numbers, is docs/streams.md. Functions without a loop take arrays with any leading
dimensions, so that a simulation of many streams computes what one stream computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Callable, NamedTuple, Optional

import numpy as np

from .manifest import StreamPolicy

NO_EXIT = -1  # exit of a frame that no exit has seen

# Given whether the frame has to run to the final exit, (exit, its calibrated probabilities (K,)) one by one.
RunExits = Callable[[bool], Iterable[tuple[int, np.ndarray]]]


class StreamState(NamedTuple):
    """What a stream keeps from one frame to the next; it is never changed in place.

    Attributes:
        posterior: float64 (K,), probabilities of the classes after the last frame.
        scene: float64 (K,), exit 0's probabilities at the start of the scene; None where no scene has started.
        early_frames: frames since the final exit answered, or since the start.
        time_s: of the last frame; None where it had none.
    """

    posterior: np.ndarray
    scene: Optional[np.ndarray]
    early_frames: int
    time_s: Optional[float]


class FrameAnswer(NamedTuple):
    """Answer to one frame.

    Attributes:
        exit: the deepest exit that ran, or NO_EXIT.
        label: index of the most probable class.
        raw_label: index of the class of this exit alone; None where it has no finite probabilities.
        evidence_exit: deepest exit with finite probabilities, whose evidence the posterior has; NO_EXIT where the
            posterior is the prior.
        gated: False where the exits ended before one fired and before the final one: a deadline.
        skipped: True where the frame repeats the answer to the one before.
        restarted: True where the frame began a new sequence, because of its time.
        state: for the next frame.
    """

    exit: int
    label: int
    raw_label: Optional[int]
    evidence_exit: int
    gated: bool
    skipped: bool
    restarted: bool
    state: StreamState


def prior_of(posterior: np.ndarray, base_rates: np.ndarray, epsilon: float) -> np.ndarray:
    """Return the probabilities of the classes before a frame is seen, (..., K), of those after the frame before."""
    prior: np.ndarray = (1 - epsilon) * posterior + epsilon * base_rates
    return prior


def posterior_of(prior: np.ndarray, probabilities: np.ndarray, base_rates: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classes after an exit has seen the frame, (..., K).

    Args:
        prior: before the frame.
        probabilities: of the exit, calibrated; divided by the base rates they are likelihoods up to a factor.
        base_rates: of the classes in training.
    """
    posterior: np.ndarray = prior / base_rates * probabilities
    posterior /= np.add.reduce(posterior, axis=-1, keepdims=True)
    return posterior


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the total variation distance of probabilities (..., K), in [0, 1]."""
    halved: np.ndarray = 0.5 * np.abs(first - second).sum(axis=-1)
    return halved


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(logits / temperature) over the last axis, computed in float64."""
    probabilities: np.ndarray
    with np.errstate(all="ignore"):  # logits that are not finite give probabilities that are not finite
        probabilities = np.divide(logits, temperature, dtype=np.float64)
        probabilities -= np.maximum.reduce(probabilities, axis=-1, keepdims=True)
        np.exp(probabilities, out=probabilities)
        probabilities /= np.add.reduce(probabilities, axis=-1, keepdims=True)
    return probabilities


class StreamFilter:
    """The rule of one policy, for any number of streams.

    Attributes:
        policy: of the rule.
        base_rates: float64 (K,), sum 1.
        start: state before the first frame of a sequence.
    """

    def __init__(self, policy: StreamPolicy, base_rates: np.ndarray) -> None:
        """Make the rule of a policy that `stream_checks.check_policy` accepts."""
        self.policy = policy
        rates = np.array(base_rates, np.float64)
        self.base_rates = rates / rates.sum()
        self.start = StreamState(self.base_rates, None, 0, None)
        self._final = len(policy.thresholds)

    def exits(self, full_depth: bool) -> list[int]:
        """Return the exits that a frame has to run, in order, until one fires: those that can fire or are compared."""
        if full_depth:
            return [self._final]
        compared = self.policy.skip_distance is not None
        early = [k for k, t in enumerate(self.policy.thresholds) if t is not None or (k == 0 and compared)]
        return [*early, self._final]

    def step(self, state: StreamState, run_exits: RunExits, time_s: Optional[float] = None) -> FrameAnswer:
        """Return the answer to the next frame.

        Args:
            state: after the frame before, or `start`.
            run_exits: gives the probabilities of each exit when it is asked for them, those of `exits` at least; none
                where the frame is not finite. It may end before the final exit (a deadline).
            time_s: of the frame, in seconds.
        """
        restarted = self._is_gap(state.time_s, time_s)
        if restarted:
            state = self.start
        full_depth = 0 < self.policy.check_every <= state.early_frames + 1
        prior = posterior = prior_of(state.posterior, self.base_rates, self.policy.epsilon)
        label, raw_label, scene = int(prior.argmax()), None, None
        index, evidence_exit, fired = NO_EXIT, NO_EXIT, False
        for index, own in run_exits(full_depth):
            raw_label = None
            if not math.isfinite(np.add.reduce(own)):
                continue
            early = index < self._final and not full_depth
            if early and index == 0 and self.policy.skip_distance is not None:
                if state.scene is not None and distance(own, state.scene) <= self.policy.skip_distance:
                    return self._repeat(state, own, restarted, time_s)
                scene = own
            evidence_exit, posterior = index, posterior_of(prior, own, self.base_rates)
            label, raw_label = int(posterior.argmax()), int(own.argmax())
            if early and self._fires(index, float(posterior[label]), raw_label == label):
                fired = True
                break
        gated = fired or index in (self._final, NO_EXIT)
        early_frames = 0 if evidence_exit == self._final else state.early_frames + 1
        new = StreamState(posterior, scene if gated else None, early_frames, time_s)
        return FrameAnswer(index, label, raw_label, evidence_exit, gated, False, restarted, new)

    def _repeat(self, state: StreamState, own: np.ndarray, restarted: bool, time_s: Optional[float]) -> FrameAnswer:
        """Return the answer to the frame before again: exit 0 shows the same scene."""
        new = state._replace(early_frames=state.early_frames + 1, time_s=time_s)
        label = int(state.posterior.argmax())
        return FrameAnswer(0, label, int(own.argmax()), NO_EXIT, True, True, restarted, new)

    def _fires(self, index: int, largest: float, agrees: bool) -> bool:
        threshold = self.policy.thresholds[index]
        return threshold is not None and largest >= threshold and (agrees or not self.policy.agree)

    def _is_gap(self, before_s: Optional[float], now_s: Optional[float]) -> bool:
        """Return whether a frame begins a new sequence: too late after the one before, or before it."""
        if before_s is None or now_s is None:
            return False
        return now_s < before_s or (self.policy.gap_s is not None and now_s - before_s > self.policy.gap_s)
