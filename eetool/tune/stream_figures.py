"""Figures of answers on sequences of frames: accuracy, reaction to changes of the class, false switches, cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eetool.accuracy_difference import CONFIDENCE, Interval
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds

_RESAMPLES, _SEED = 2000, 0
_REACTION_SHARE = 0.95  # of the changes that the reaction time is about


class CostedPolicy(Protocol):
    """Settings of a policy that its cost depends on, besides its decisions; see `StreamPolicy`."""

    @property
    def thresholds(self) -> Thresholds:
        """One per early exit."""

    @property
    def check_every(self) -> int:
        """Frames of which one at least runs to the final exit; 0 demands none."""

    @property
    def skip_distance(self) -> float | None:
        """Distance up to which an answer is repeated; null where none is."""


@dataclass(frozen=True)
class Frames:
    """N frames in the order of their sequences.

    Attributes:
        probabilities: float64 (N, exits, K), calibrated.
        labels: int64 (N,).
        starts: bool (N,), frames that begin a sequence.
        groups: int64 (N,).
        period_s: seconds from one frame to the next.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    groups: np.ndarray
    period_s: float

    @property
    def segments(self) -> np.ndarray:
        """First frames of the segments, in which neither the sequence nor the class changes; int64."""
        changes = np.concatenate([[True], self.labels[1:] != self.labels[:-1]])
        firsts: np.ndarray = np.flatnonzero(self.starts | changes)
        return firsts

    def of_groups(self, chosen: np.ndarray) -> "Frames":
        """Return the frames of these groups."""
        rows = np.isin(self.groups, chosen)
        probabilities, labels, starts, groups = (
            array[rows] for array in (self.probabilities, self.labels, self.starts, self.groups)
        )
        return Frames(probabilities, labels, starts, groups, self.period_s)


def right_answers(frames: Frames, answers: np.ndarray) -> np.ndarray:
    """Return bool (…, N), which answers are the class."""
    right: np.ndarray = answers == frames.labels
    return right


def reactions_s(frames: Frames, answers: np.ndarray) -> np.ndarray:
    """Return seconds from each change of the class within a sequence to the first answer that has it, (…, changes).

    Where none has it before the next change or the end of the sequence, it is the time until then: at least so long.

    Args:
        frames: the frames.
        answers: int (…, N).
    """
    firsts = frames.segments
    ends = np.append(firsts[1:], len(frames.labels))
    changed = ~frames.starts[firsts]
    wrong = answers != frames.labels
    position = np.where(wrong, len(frames.labels), np.arange(len(frames.labels)))
    first_right = np.minimum.reduceat(position, firsts, axis=-1)[..., changed]  # (…, changes)
    begins, limits = firsts[changed], ends[changed]
    seconds: np.ndarray = (np.minimum(first_right, limits) - begins) * frames.period_s
    return seconds


def false_switches_per_minute(frames: Frames, answers: np.ndarray) -> np.ndarray:
    """Return how often per minute the answer (…, N) changes to a class that is not the frame's, within sequences."""
    switched = np.zeros(answers.shape, bool)
    switched[..., 1:] = (answers[..., 1:] != answers[..., :-1]) & ~frames.starts[1:]
    count = (switched & (answers != frames.labels)).sum(-1)
    rate: np.ndarray = 60 * count / (len(frames.labels) * frames.period_s)
    return rate


def percentile_s(seconds: np.ndarray, standard_errors: float = 0.0) -> np.ndarray:
    """Return the 95th percentile of reactions (…, changes); 0 without a change.

    Args:
        seconds: the reactions.
        standard_errors: so many standard errors of the share are added to it, as a margin for few changes.
    """
    count = seconds.shape[-1]
    if not count:
        return np.zeros(seconds.shape[:-1])
    margin = standard_errors * math.sqrt(_REACTION_SHARE * (1 - _REACTION_SHARE) / count)
    value: np.ndarray = np.percentile(seconds, 100 * min(1.0, _REACTION_SHARE + margin), axis=-1)
    return value


def mean_costs(policies: Sequence[CostedPolicy], frames: Frames, exits: np.ndarray, costs: CascadeCosts) -> np.ndarray:
    """Return the mean cost of a frame under each policy, of everything that ran.

    Args:
        policies: P policies.
        frames: the frames.
        exits: int (P, N), exits where the frames left; -1 counts as the final exit.
        costs: costs of the cascade.
    """
    return np.array([frame_costs(p, frames, own, costs).mean() for p, own in zip(policies, exits, strict=True)])


def frame_costs(policy: CostedPolicy, frames: Frames, exits: np.ndarray, costs: CascadeCosts) -> np.ndarray:
    """Return the cost of every frame (N,); see `mean_costs`. A check at full depth does not run the early exits."""
    final = len(policy.thresholds)
    gated = tuple(0.0 if runs else None for runs in running_exits(policy))
    spent: np.ndarray = costs.leaving(gated)[np.where(exits < 0, final, exits)]
    if policy.check_every:
        checked = checked_frames(policy, frames, exits)
        spent = np.where(checked, costs.leaving((None,) * final)[-1], spent)
    return spent


def running_exits(policy: CostedPolicy) -> list[bool]:
    """Return which early exits run: those that can fire, and exit 0 where it is compared."""
    compares = policy.skip_distance is not None
    return [t is not None or (compares and k == 0) for k, t in enumerate(policy.thresholds)]


def checked_frames(policy: CostedPolicy, frames: Frames, exits: np.ndarray) -> np.ndarray:
    """Return bool (N,), frames that went straight to the final exit because `check_every` demanded it."""
    if not policy.check_every:
        return np.zeros(len(exits), bool)
    at, final = np.arange(len(exits)), len(policy.thresholds)
    last = np.maximum.accumulate(np.where(exits == final, at, -1))  # the last answer of the final exit so far
    before = np.concatenate([[-1], last[:-1]])
    begin = np.maximum.accumulate(np.where(frames.starts, at, 0)) - 1
    checked: np.ndarray = at - np.maximum(before, begin) >= policy.check_every
    return checked


def group_interval(groups: np.ndarray, first: np.ndarray, second: np.ndarray) -> Interval:
    """Return the 95 % interval of the difference of two means (N,), by resampling whole groups (cluster bootstrap).

    Frames of one group are not independent; with few groups the interval is rough, and with one it is a point.
    """
    known, number = np.unique(groups, return_inverse=True)
    sums = np.bincount(number, first.astype(float) - second.astype(float), len(known))
    sizes = np.bincount(number, minlength=len(known))
    drawn = np.random.default_rng(_SEED).integers(len(known), size=(_RESAMPLES, len(known)))
    means = sums[drawn].sum(1) / sizes[drawn].sum(1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def segment_standard_errors(frames: Frames, right: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the standard error of accuracy(right) − accuracy(other), (…,), with segments as the independent units.

    Args:
        frames: the frames.
        right: bool (…, N).
        other: bool (N,).
    """
    firsts = frames.segments
    difference = right.astype(np.float64) - other
    sums = np.add.reduceat(difference, firsts, axis=-1)  # (…, segments)
    sizes = np.diff(np.append(firsts, len(frames.labels)))
    residual = sums - difference.mean(-1, keepdims=True) * sizes
    error: np.ndarray = np.sqrt((residual**2).sum(-1)) / len(frames.labels)
    return error
