"""Times several classifiers on the same images, in turns, so that a noisy moment hits all of them alike."""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from eetool.progress import SILENT, Progress
from eetool_measure.timing import Clock, without_garbage_collection

BLOCK = 20  # images that one racer answers before the next takes its turn


class TimedModel(Protocol):
    """Something that answers images by their number."""

    name: str

    def prepare(self) -> None:
        """Called before each turn, and not timed."""

    def answer(self, image: int) -> object:
        """What is timed: from an input that lies ready to the class."""


def time_interleaved(
    racers: Sequence[TimedModel],
    images: int,
    *,
    passes: int,
    min_seconds: float,
    seed: int,
    progress: Progress = SILENT,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, np.ndarray]:
    """Let every racer answer every image, `passes` times and on until `min_seconds` are over.

    In each pass the images are shuffled and cut into blocks; on each block the racers take turns, in an order drawn
    anew. One answer before each turn is not counted: it pays for the caches that the last racer filled.

    Returns:
        int64 (passes, images) nanoseconds per racer; column i is the image with the number i.
    """
    draw = np.random.default_rng(seed)
    rows: dict[str, list[np.ndarray]] = {racer.name: [] for racer in racers}
    with without_garbage_collection(), progress("passes over the test split", passes) as advance:
        begin, done = clock(), 0
        while done < passes or clock() - begin < min_seconds * 1e9:
            for name, times in _one_pass(racers, draw.permutation(images), draw, clock).items():
                rows[name].append(times)
            done += 1
            advance(1)
    return {name: np.stack(times) for name, times in rows.items()}


def _one_pass(
    racers: Sequence[TimedModel], order: np.ndarray, draw: np.random.Generator, clock: Clock
) -> dict[str, np.ndarray]:
    times = {racer.name: np.empty(len(order), np.int64) for racer in racers}
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK].tolist()
        for turn in draw.permutation(len(racers)):
            times[racers[turn].name][block] = _take_turn(racers[turn], block, clock)
    return times


def _take_turn(racer: TimedModel, block: Sequence[int], clock: Clock) -> list[int]:
    racer.prepare()
    answer = racer.answer
    answer(block[-1])
    times = []
    for image in block:
        start = clock()
        answer(image)
        times.append(clock() - start)
    return times
