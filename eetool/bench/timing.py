"""Timing of the ways of a benchmark on a sample of the inputs that fits into the time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from eetool.bench.interleaved_timing import Loader, TimedModel, TimingRules, seconds_per_input, time_interleaved
from eetool.bench.predictions import WayPredictions
from eetool.bench.timed_sample import TimedLatency, choose_timed, summarize_times
from eetool.bench.way_sets import WaySet
from eetool.progress import SILENT, Progress


@dataclass(frozen=True)
class Timing:
    """Latencies by name of the way; numbers of timed inputs and of passes."""

    latencies: dict[str, TimedLatency]
    timed: int
    passes: int


def time_ways(
    sets: Sequence[WaySet],
    predictions: Mapping[str, WayPredictions],
    together: bool,
    rules: TimingRules,
    progress: Progress = SILENT,
) -> Timing:
    """Time every way that has predictions.

    As many inputs are timed as the passes of `rules` take in its duration. Where all take less, there are more passes.

    Args:
        sets: whose ways are timed.
        predictions: by name of the way, on N inputs.
        together: whether all graphs are in memory at once.
        rules: settings of the timing.
        progress: shows the passes.
    """
    groups: list[Loader] = (
        [partial(_opened, sets, predictions)] if together else [partial(_opened, [one], predictions) for one in sets]
    )
    strata = [p.strata for p in predictions.values()]
    n = len(strata[0])
    seconds = seconds_per_input(groups, np.random.default_rng(rules.seed).permutation(n))
    timed = choose_timed(strata, n, int(min(n, rules.min_seconds / (rules.passes * seconds))), rules.seed)
    times = time_interleaved(groups, timed, rules, progress)
    latencies = {name: summarize_times(ns / 1e6, timed, predictions[name].strata) for name, ns in times.items()}
    return Timing(latencies, len(timed), len(next(iter(times.values()))))


@contextmanager
def _opened(sets: Sequence[WaySet], names: Mapping[str, object]) -> Iterator[Sequence[TimedModel]]:
    with ExitStack() as stack:
        ways = [way for one in sets for way in stack.enter_context(one.opened())]
        yield [way for way in ways if way.name in names]
