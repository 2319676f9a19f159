"""Decisions of stream policies on recorded probabilities, many policies and sequences at once.

The arithmetic is that of `eetool_runtime.stream_filter`; a test compares every decision with `StreamFilter.step`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool_runtime.manifest import StreamPolicy
from eetool_runtime.stream_filter import NO_EXIT, StreamFilter, distance, posterior_of, prior_of

NEVER = 2.0  # probabilities are at most 1


@dataclass(frozen=True)
class StreamDecisions:
    """Decisions of P policies on N frames.

    Attributes:
        exits: int (P, N), the exit where the frame left; -1 where the frame has no finite probabilities at all.
        labels: int (P, N), the classes of the posteriors.
        raw_labels: int (P, N), the classes of the exits alone; -1 where an exit has no finite probabilities.
        skipped: bool (P, N), where a frame repeats the answer before.
        posteriors: float64 (P, N, K), or None where they were not asked for.
    """

    exits: np.ndarray
    labels: np.ndarray
    raw_labels: np.ndarray
    skipped: np.ndarray
    posteriors: np.ndarray | None

    @property
    def held(self) -> np.ndarray:
        """Bool (P, N), where the filter's class differs from the exit's own."""
        differs: np.ndarray = (self.raw_labels >= 0) & (self.raw_labels != self.labels)
        return differs


def sequence_starts(sequences: np.ndarray, times_s: np.ndarray | None = None, gap_s: float | None = None) -> np.ndarray:
    """Return bool (N,): frames that begin a sequence, a time that is more than `gap_s` later, or one that is earlier.

    Args:
        sequences: id of the sequence of each frame, frames of one sequence in a row.
        times_s: of each frame.
        gap_s: as in `StreamPolicy`.
    """
    starts = np.ones(len(sequences), bool)
    starts[1:] = sequences[1:] != sequences[:-1]
    if times_s is not None:
        step_s = np.diff(times_s)
        starts[1:] |= (step_s < 0) | (step_s > (np.inf if gap_s is None else gap_s))
    return starts


def simulate(
    policies: Sequence[StreamPolicy],
    probabilities: np.ndarray,
    starts: np.ndarray,
    base_rates: np.ndarray,
    *,
    with_posteriors: bool = False,
) -> StreamDecisions:
    """Return the decisions of every policy on every frame.

    Args:
        policies: at least one; their `gap_s` is not used, see `sequence_starts`.
        probabilities: float (N, exits, K), calibrated, of every exit on every frame in order.
        starts: bool (N,), frames that begin a sequence; the first one does in any case.
        base_rates: of the classes, (K,).
        with_posteriors: return the posteriors as well, 8 P N K bytes.
    """
    n = len(probabilities)
    begins = np.flatnonzero(np.r_[True, starts[1:]]) if n else np.zeros(0, int)
    lengths = np.diff(np.r_[begins, n])
    longest_first = np.argsort(-lengths, kind="stable")
    begins, lengths = begins[longest_first], lengths[longest_first]
    lanes = _Lanes(policies, base_rates, len(begins))
    shape = (len(policies), n)
    exits, labels, raw_labels = (np.full(shape, NO_EXIT, np.int32) for _ in range(3))
    skipped = np.zeros(shape, bool)
    posteriors = np.zeros((*shape, probabilities.shape[2])) if with_posteriors else None
    for t in range(int(lengths[0]) if n else 0):
        running = int(np.searchsorted(-lengths, -t, side="left"))  # sequences longer than t come first
        rows = begins[:running] + t
        exits[:, rows], labels[:, rows], raw_labels[:, rows], skipped[:, rows] = lanes.step(probabilities[rows])
        if posteriors is not None:
            posteriors[:, rows] = lanes.posterior[:, :running]
    return StreamDecisions(exits, labels, raw_labels, skipped, posteriors)


class _Lanes:
    """State of S streams under P policies; a step advances the first of them."""

    def __init__(self, policies: Sequence[StreamPolicy], base_rates: np.ndarray, streams: int) -> None:
        self._base_rates = StreamFilter(policies[0], base_rates).base_rates
        self._final = len(policies[0].thresholds)
        column = np.array([[p.epsilon, p.check_every, _or(p.skip_distance, -1)] for p in policies])
        self._epsilon, self._check_every, self._skip_distance = column.T[:, :, None]  # (P, 1) each
        self._agree = np.array([[p.agree] for p in policies])
        runs = [StreamFilter(p, base_rates).exits(full_depth=False) for p in policies]
        self._runs = np.array([[k in exits for k in range(self._final)] for exits in runs])  # (P, early exits)
        self._thresholds = np.array([[_or(t, NEVER) for t in p.thresholds] for p in policies])  # (P, early exits)
        self.posterior = np.tile(self._base_rates, (len(policies), streams, 1))
        self._scene = np.full_like(self.posterior, np.nan)
        self._early_frames = np.zeros((len(policies), streams), int)

    def step(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return exits, labels, raw labels and skips (P, S) of the next frame (S, exits, K) of the first S streams."""
        n = len(probabilities)
        before, scene = self.posterior[:, :n], self._scene[:, :n]
        early_frames = self._early_frames[:, :n] + 1
        finite = np.isfinite(probabilities).all(axis=2)  # (S, exits)
        check = (self._check_every > 0) & (early_frames >= self._check_every)
        prior = prior_of(before, self._base_rates, self._epsilon[:, :, None])
        posterior, new_scene = prior.copy(), np.full_like(prior, np.nan)
        shape = check.shape
        running, skipped = np.ones(shape, bool), np.zeros(shape, bool)
        exits, raw_labels = np.full(shape, self._final), np.full(shape, NO_EXIT)
        for k in range(self._final + 1):
            final, own = k == self._final, probabilities[:, k]
            sees = running & finite[:, k] & (True if final else ~check & self._runs[:, k, None])
            if k == 0 and not final:
                compared = sees & (self._skip_distance >= 0)
                skipped = compared & (distance(own, scene) <= self._skip_distance)  # a scene of NaN is at no distance
                new_scene[compared] = np.broadcast_to(own, new_scene.shape)[compared]
            updated = posterior_of(prior, own, self._base_rates)
            posterior = np.where(sees[:, :, None], updated, posterior)
            own_label = np.broadcast_to(own.argmax(axis=1), shape)
            fires = sees & ((updated.max(axis=2) >= self._thresholds[:, k, None]) if not final else True)
            if not final:
                fires &= ~self._agree | (updated.argmax(axis=2) == own_label)
                fires |= skipped if k == 0 else False
            raw_labels[fires] = own_label[fires]
            exits[fires] = k
            running &= ~fires
        exits[:, ~finite.any(axis=1)] = NO_EXIT
        early_frames[(exits == self._final) & finite[:, self._final]] = 0
        labels = np.where(skipped, before.argmax(axis=2), posterior.argmax(axis=2))
        self.posterior[:, :n] = np.where(skipped[:, :, None], before, posterior)
        self._scene[:, :n] = np.where(skipped[:, :, None], scene, new_scene)
        self._early_frames[:, :n] = early_frames
        return exits, labels, raw_labels, skipped


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
