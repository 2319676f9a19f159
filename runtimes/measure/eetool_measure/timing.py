"""Timing protocol: warm-up, then interleaved blocks in random order, on a monotonic clock.

With interleaving, frequency drift and other processes affect all subjects alike. Ratios between subjects are then
valid where the times themselves are not. `docs/measuring.md` explains the protocol.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, TypeVar

import numpy as np

from eetool_runtime.backends import Arrays, BoundCall, Graph
from eetool_runtime.errors import BackendError, EarlyExitError

Key = TypeVar("Key")
Subject = Callable[[int], object]  # called with the number of the call, so that it can cycle through inputs
Clock = Callable[[], int]  # nanoseconds

BLOCK = 10
_WARM_UP_CALLS = 20
_WARM_UP_SHARE = 0.1  # of the measuring time: the clock frequency settles with time, not with calls


def bind_to(graph: Graph, feed: Arrays) -> tuple[BoundCall, dict[str, np.ndarray]]:
    """Bind `graph` to a copy of `feed` and to new output arrays.

    Returns:
        the bound call, which raises BackendError where the engine fails; the output arrays by name.
    """
    inputs = {name: np.array(array, order="C") for name, array in feed.items()}
    outputs = dict(zip(graph.outputs, map(np.array, graph.run(inputs))))
    bound = graph.bind(inputs, outputs)
    return BoundCall(translate_errors(bound.call), bound.read), outputs


def translate_errors(call: Callable[[], None]) -> Callable[[], None]:
    """Return `call` with the exceptions of its engine converted to BackendError."""

    def translated_call() -> None:
        try:
            call()
        except EarlyExitError:
            raise
        except Exception as error:  # engines raise a dozen unrelated types
            raise BackendError(f"a graph could not run: {error}") from error

    return translated_call


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call over `runs` calls; `mad` is the median absolute deviation from the median."""

    median: float
    p90: float
    p99: float
    mad: float
    runs: int


@dataclass(frozen=True)
class Spread:
    """Median over the rounds of a measurement, and the 95 % interval of that median as [low, high]."""

    median: float
    ci95: tuple[float, ...]


def interleave(
    subjects: Mapping[Key, Subject],
    *,
    runs: int,
    min_seconds: float,
    seed: int,
    clock: Clock = time.perf_counter_ns,
) -> dict[Key, np.ndarray]:
    """Time every subject for at least `runs` calls, and all together for at least `min_seconds`.

    Each round calls every subject `BLOCK` times, in a new random order.

    Returns:
        int64 (rounds, BLOCK) nanoseconds per subject; row i of all subjects was measured in the same round.
    """
    order, shuffle = list(subjects), random.Random(seed).shuffle
    blocks: dict[Key, list[list[int]]] = {key: [] for key in order}
    with without_garbage_collection():
        _warm_up(subjects, min_seconds * _WARM_UP_SHARE, clock)
        begin, rounds = clock(), 0
        while rounds * BLOCK < runs or clock() - begin < min_seconds * 1e9:
            shuffle(order)
            for key in order:
                blocks[key].append(_block(subjects[key], rounds * BLOCK, clock))
            rounds += 1
    return {key: np.array(rows, np.int64) for key, rows in blocks.items()}


def time_alternating(
    subjects: Mapping[str, Subject], runs: int, clock: Clock = time.perf_counter_ns
) -> dict[str, float]:
    """Return the median milliseconds of calls that alternate between subjects, with the caches of the others."""
    times: dict[str, list[int]] = {name: [] for name in subjects}
    with without_garbage_collection():
        for number in range(runs):
            for name, subject in subjects.items():
                start = clock()
                subject(number)
                times[name].append(clock() - start)
    return {name: float(np.median(times_ns)) / 1e6 for name, times_ns in times.items()}


def latency(times_ns: np.ndarray) -> Latency:
    """Return the summary of nanoseconds of any shape."""
    times_ms = np.asarray(times_ns).reshape(-1) / 1e6
    median, p90, p99 = (float(value) for value in np.percentile(times_ms, (50, 90, 99)))
    return Latency(median, p90, p99, float(np.median(np.abs(times_ms - median))), times_ms.size)


def per_round(times_ns: np.ndarray) -> np.ndarray:
    """Return (rounds,) milliseconds, the median of each block of (rounds, BLOCK) nanoseconds."""
    medians: np.ndarray = np.median(times_ns, axis=1) / 1e6
    return medians


def spread(values: np.ndarray) -> Spread:
    """Return the median of (rounds,) values and its distribution-free 95 % interval from order statistics."""
    ordered = np.sort(values)
    middle, half = (len(ordered) - 1) / 2, 0.98 * math.sqrt(len(ordered))  # 0.98 = 1.96 standard deviations of ½
    low, high = max(0, math.floor(middle - half)), min(len(ordered) - 1, math.ceil(middle + half))
    return Spread(float(np.median(ordered)), (float(ordered[low]), float(ordered[high])))


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection inside the block, because it would delay an arbitrary subject."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _warm_up(subjects: Mapping[Key, Subject], seconds: float, clock: Clock) -> None:
    begin, calls = clock(), 0
    while calls < _WARM_UP_CALLS or clock() - begin < seconds * 1e9:
        for subject in subjects.values():
            subject(calls)
        calls += 1


def _block(subject: Subject, first: int, clock: Clock) -> list[int]:
    """Return the times of `BLOCK` calls after one untimed call, which refills the caches."""
    subject(first)
    times = []
    for number in range(first, first + BLOCK):
        start = clock()
        subject(number)
        times.append(clock() - start)
    return times
