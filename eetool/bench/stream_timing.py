"""Timing of several ways to answer streams: each sees every frame in order, and they take turns of a few frames."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from eetool.progress import SILENT, Progress
from eetool_measure.timing import Clock, without_garbage_collection

RUN = 20  # frames per turn of one way
_SHIFT = 7  # between the turns of two passes, so that no frame is the first of its turn in every pass


@dataclass(frozen=True)
class FrameResult:
    """Answer to a frame: the class, and the exit that it left at."""

    label: int
    exit: int


class FrameWay(Protocol):
    """A way to answer the frames of a stream."""

    name: str

    def prepare(self, indices: Sequence[int]) -> None:
        """Prepare for a turn on the frames `indices`; not timed."""

    def restart(self) -> None:
        """Forget the frames before: a sequence begins. It is timed as a part of its first frame."""

    def answer(self, index: int) -> FrameResult:
        """Return the answer to a frame, which comes after the one before in time."""


@dataclass(frozen=True)
class StreamTimes:
    """Answers and times of one way on N frames.

    Attributes:
        labels: int64 (N,), classes.
        exits: int64 (N,).
        latency_ms: (N,), median over the passes.
        pass_ms: (passes,), the mean of every pass.
    """

    labels: np.ndarray
    exits: np.ndarray
    latency_ms: np.ndarray
    pass_ms: np.ndarray


def time_streams(
    ways: Sequence[FrameWay],
    starts: np.ndarray,
    passes: int,
    seed: int = 0,
    progress: Progress = SILENT,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, StreamTimes]:
    """Let every way answer all frames in order, several times, and return answers and times by its name.

    The ways take turns of `RUN` frames in a new random order. The first frame of a turn is not timed, because caches
    hold data of the way before.

    Args:
        ways: the ways.
        starts: bool (N,), frames that begin a sequence.
        passes: over all frames, two at least.
        seed: of the order of turns.
        progress: shows the passes.
        clock: returns nanoseconds.
    """
    rng = np.random.default_rng(seed)
    n = len(starts)
    times = {way.name: np.full((passes, n), np.nan) for way in ways}
    labels = {way.name: np.zeros(n, np.int64) for way in ways}
    exits = {way.name: np.zeros(n, np.int64) for way in ways}
    with without_garbage_collection(), progress("passes over the sequences", passes) as advance:
        for number in range(passes):
            bounds = [0, *range((number * _SHIFT) % RUN or RUN, n, RUN), n]
            for begin, end in pairwise(bounds):
                for turn in rng.permutation(len(ways)):
                    way = ways[turn]
                    way.prepare(range(begin, end))
                    for index in range(begin, end):
                        start = clock()
                        if starts[index] or index == 0:
                            way.restart()
                        result = way.answer(index)
                        spent = clock() - start
                        labels[way.name][index], exits[way.name][index] = result.label, result.exit
                        if index > begin:
                            times[way.name][number, index] = spent / 1e6
            advance(1)
    return {way.name: _summary(labels[way.name], exits[way.name], times[way.name]) for way in ways}


def _summary(labels: np.ndarray, exits: np.ndarray, times: np.ndarray) -> StreamTimes:
    timed = np.isfinite(times).any(0)
    latency = np.zeros(times.shape[1])
    latency[timed] = np.nanmedian(times[:, timed], axis=0)
    if not timed.all():  # with few passes: the mean of the frames that left at the same exit
        for index in np.flatnonzero(~timed):
            same = timed & (exits == exits[index])
            latency[index] = latency[same if same.any() else timed].mean()
    return StreamTimes(labels, exits, latency, np.nanmean(times, axis=1))
