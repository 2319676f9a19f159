"""Interleaved timing of several models on the same inputs, so that noise of the machine affects all of them alike."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eetool.progress import SILENT, Progress
from eetool_measure.timing import Clock, without_garbage_collection

BLOCK = 20  # inputs per turn of one model
PASSES, MIN_SECONDS, SEED = 7, 6.0, 0
_TRIED = 5  # inputs that tell how long a pass takes


@dataclass(frozen=True)
class TimingRules:
    """Settings of the timing.

    Attributes:
        passes: passes over the timed inputs, at least.
        min_seconds: duration, at least; as many inputs are timed as `passes` passes take in it.
        seed: of the choice of inputs and of all orders.
    """

    passes: int = PASSES
    min_seconds: float = MIN_SECONDS
    seed: int = SEED


class TimedModel(Protocol):
    """A model that classifies inputs by their index."""

    name: str

    def prepare(self, indices: Sequence[int]) -> None:
        """Prepare for a turn on the inputs `indices`; not timed."""

    def classify(self, index: int) -> object:
        """Return the class of a preprocessed input; this call is timed."""


# Models whose graphs are loaded together; they are loaded when it is entered, unless they are already.
Loader = Callable[[], AbstractContextManager[Sequence[TimedModel]]]


def time_interleaved(
    groups: Sequence[Loader],
    inputs: np.ndarray,
    rules: TimingRules,
    progress: Progress = SILENT,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, np.ndarray]:
    """Time every model on every input, for at least the passes and the seconds of `rules`.

    Each pass shuffles the inputs and cuts them into blocks. On each block the models take turns in a new random order.
    The first call of a turn is not counted, because caches hold data of the model before. Groups that cannot be in
    memory together take turns of a whole pass, in a new random order.

    Args:
        groups: of the models to time.
        inputs: int64 (M,), indices of the inputs to time.
        rules: settings of the timing.
        progress: shows the passes.
        clock: returns nanoseconds.

    Returns:
        int64 (passes, M) nanoseconds by name of the model; column i is the input `inputs[i]`.
    """
    rng = np.random.default_rng(rules.seed)
    rows: dict[str, list[np.ndarray]] = {}
    with without_garbage_collection(), progress("passes over the timed examples", rules.passes) as advance:
        start, done = clock(), 0
        while done < rules.passes or clock() - start < rules.min_seconds * 1e9:
            order = rng.permutation(len(inputs))
            for turn in rng.permutation(len(groups)):
                with groups[turn]() as models:
                    for name, times in _one_pass(models, inputs, order, rng, clock).items():
                        rows.setdefault(name, []).append(times)
            done += 1
            advance(1)
    return {name: np.stack(times) for name, times in rows.items()}


def seconds_per_input(groups: Sequence[Loader], inputs: np.ndarray, clock: Clock = time.perf_counter_ns) -> float:
    """Return about how long all models together take for one input in `time_interleaved`; it is also a warm-up.

    Args:
        groups: of the models.
        inputs: int64 (M,), indices of inputs; the first few are tried.
        clock: returns nanoseconds.
    """
    total = 0.0
    for group in groups:
        with group() as models:
            total += sum(float(np.mean(_take_turn(model, inputs[:_TRIED].tolist(), clock))) for model in models)
    return total * (1 + 1 / BLOCK) / 1e9


def _one_pass(
    models: Sequence[TimedModel], inputs: np.ndarray, order: np.ndarray, rng: np.random.Generator, clock: Clock
) -> dict[str, np.ndarray]:
    times = {model.name: np.empty(len(order), np.int64) for model in models}
    for start in range(0, len(order), BLOCK):
        block = order[start : start + BLOCK]
        for turn in rng.permutation(len(models)):
            times[models[turn].name][block] = _take_turn(models[turn], inputs[block].tolist(), clock)
    return times


def _take_turn(model: TimedModel, block: Sequence[int], clock: Clock) -> list[int]:
    model.prepare(block)
    classify = model.classify
    classify(block[-1])
    times = []
    for index in block:
        start = clock()
        classify(index)
        times.append(clock() - start)
    return times
