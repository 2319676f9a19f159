"""Interleaved timing of several models on the same inputs, so that noise of the machine affects all of them alike."""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from eetool.progress import SILENT, Progress
from eetool_measure.timing import Clock, without_garbage_collection

BLOCK = 20  # inputs per turn of one model


class TimedModel(Protocol):
    """A model that classifies inputs by their index."""

    name: str

    def prepare(self) -> None:
        """Prepare for a turn; not timed."""

    def classify(self, index: int) -> object:
        """Return the class of a preprocessed input; this call is timed."""


def time_interleaved(
    models: Sequence[TimedModel],
    n_inputs: int,
    *,
    passes: int,
    min_seconds: float,
    seed: int,
    progress: Progress = SILENT,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, np.ndarray]:
    """Time every model on every input, for at least `passes` passes and `min_seconds` seconds.

    Each pass shuffles the inputs and cuts them into blocks. On each block the models take turns in a new random order.
    The first call of a turn is not counted, because caches hold data of the model before.

    Args:
        models: models to time.
        n_inputs: number of inputs that each model holds.
        passes: smallest number of passes.
        min_seconds: shortest duration of all passes.
        seed: of all orders.
        progress: shows the passes.
        clock: returns nanoseconds.

    Returns:
        int64 (passes, inputs) nanoseconds by name of the model; column i is the input with index i.
    """
    rng = np.random.default_rng(seed)
    rows: dict[str, list[np.ndarray]] = {model.name: [] for model in models}
    with without_garbage_collection(), progress("passes over the test split", passes) as advance:
        start, done = clock(), 0
        while done < passes or clock() - start < min_seconds * 1e9:
            for name, times in _one_pass(models, rng.permutation(n_inputs), rng, clock).items():
                rows[name].append(times)
            done += 1
            advance(1)
    return {name: np.stack(times) for name, times in rows.items()}


def _one_pass(
    models: Sequence[TimedModel], order: np.ndarray, rng: np.random.Generator, clock: Clock
) -> dict[str, np.ndarray]:
    times = {model.name: np.empty(len(order), np.int64) for model in models}
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK].tolist()
        for turn in rng.permutation(len(models)):
            times[models[turn].name][block] = _take_turn(models[turn], block, clock)
    return times


def _take_turn(model: TimedModel, block: Sequence[int], clock: Clock) -> list[int]:
    model.prepare()
    classify = model.classify
    classify(block[-1])
    times = []
    for index in block:
        start = clock()
        classify(index)
        times.append(clock() - start)
    return times
