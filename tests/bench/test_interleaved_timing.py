"""Interleaved timing, on a clock that the timed models advance."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest

from eetool.bench.interleaved_timing import BLOCK, TimingRules, seconds_per_input, time_interleaved


class Track:
    """A clock in nanoseconds and a log of calls; the machine may slow down meanwhile."""

    def __init__(self, slowdown_per_second: float = 0.0) -> None:
        self.now = 0.0
        self.log: list[tuple[str, int]] = []
        self.prepared: list[tuple[str, int]] = []
        self.slowdown_per_second = slowdown_per_second

    def clock(self) -> int:
        return int(self.now)


class Runner:
    def __init__(self, name: str, track: Track, cost_ns: float = 1000.0) -> None:
        self.name = name
        self._track = track
        self._cost_ns = cost_ns

    def prepare(self, indices: Sequence[int]) -> None:
        self._track.prepared.append((self.name, len(self._track.log)))

    def classify(self, index: int) -> None:
        self._track.log.append((self.name, index))
        cost = self._cost_ns * (1 + index / 100)  # every input takes a time of its own
        self._track.now += cost * (1 + self._track.slowdown_per_second * self._track.now / 1e9)


def go(track: Track, models: list[Runner], n_inputs: int, passes: int = 1, min_seconds: float = 0.0, seed: int = 0):  # type: ignore[no-untyped-def]
    rules = TimingRules(passes, min_seconds, seed)
    return time_interleaved([partial(nullcontext, models)], np.arange(n_inputs), rules, clock=track.clock)


def turns(track: Track, images: int) -> list[tuple[str, list[int]]]:
    """Return the model of every turn and the inputs that were counted."""
    starts = [at for _, at in track.prepared]
    return [
        (track.log[start][0], [image for _, image in track.log[start + 1 : end]])
        for start, end in zip(starts, [*starts[1:], len(track.log)], strict=True)
    ]


def test_time_interleaved_columns_follow_input_index() -> None:
    track = Track()
    times = go(track, [Runner("a", track), Runner("b", track, 5000)], n_inputs=50, passes=3)
    expected = 1000 * (1 + np.arange(50) / 100)
    assert times["a"].shape == (3, 50)
    assert times["a"] == pytest.approx(np.tile(expected, (3, 1)), abs=1)
    assert times["b"] == pytest.approx(np.tile(5 * expected, (3, 1)), abs=1)


def test_time_interleaved_models_share_blocks_in_new_order() -> None:
    track = Track()
    names = ["a", "b", "c"]
    go(track, [Runner(name, track) for name in names], n_inputs=3 * BLOCK + 7, passes=4)
    taken = turns(track, 3 * BLOCK + 7)
    groups = [taken[i : i + 3] for i in range(0, len(taken), 3)]
    assert len(groups) == 4 * 4
    for group in groups:
        assert sorted(name for name, _ in group) == names
        assert len({tuple(images) for _, images in group}) == 1, "all models classify the same block"
        assert 0 < len(group[0][1]) <= BLOCK
    assert len({tuple(name for name, _ in group) for group in groups}) > 2, "every block has a new order"


def test_time_interleaved_pass_covers_every_input_once() -> None:
    track = Track()
    go(track, [Runner("a", track)], n_inputs=45, passes=3)
    answered = [image for _, images in turns(track, 45) for image in images]
    passes = [answered[i : i + 45] for i in range(0, 135, 45)]
    assert all(sorted(one) == list(range(45)) for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_time_interleaved_order_depends_on_seed_only() -> None:
    logs = []
    for seed in (1, 1, 2):
        track = Track()
        go(track, [Runner("a", track), Runner("b", track)], n_inputs=30, seed=seed)
        logs.append(track.log)
    assert logs[0] == logs[1] != logs[2]


def test_time_interleaved_runs_until_min_seconds() -> None:
    track = Track()
    times = go(track, [Runner("a", track, 1e6)], n_inputs=10, passes=2, min_seconds=0.1)
    assert len(times["a"]) > 2
    assert track.now >= 1e8


def test_time_interleaved_drifting_clock_keeps_ratios() -> None:
    track = Track(slowdown_per_second=3)
    times = go(track, [Runner("one", track, 1e4), Runner("two", track, 2e4)], n_inputs=100, passes=60)
    assert times["one"][-1].mean() > 1.5 * times["one"][0].mean()
    medians = {name: np.median(rows, axis=0).mean() for name, rows in times.items()}
    assert medians["two"] / medians["one"] == pytest.approx(2, rel=0.02)


def test_time_interleaved_times_the_given_inputs_only() -> None:
    track, inputs = Track(), np.array([3, 40, 7])
    groups = [partial(nullcontext, [Runner("a", track)])]
    times = time_interleaved(groups, inputs, TimingRules(2, 0.0, 0), clock=track.clock)
    assert times["a"] == pytest.approx(np.tile(1000 * (1 + inputs / 100), (2, 1)), abs=1)


def test_time_interleaved_groups_take_turns_of_a_whole_pass() -> None:
    track, loaded = Track(), []

    def group(name: str) -> nullcontext[list[Runner]]:
        loaded.append(name)
        return nullcontext([Runner(name, track)])

    rules = TimingRules(12, 0.0, 1)
    time_interleaved([partial(group, n) for n in "ab"], np.arange(2 * BLOCK), rules, clock=track.clock)
    assert [sorted(loaded[i : i + 2]) for i in range(0, 24, 2)] == [["a", "b"]] * 12
    assert loaded != ["a", "b"] * 12, "every pass has a new order"
    names = [name for name, _ in turns(track, 2 * BLOCK)]
    assert names == [name for name in loaded for _ in range(2)]


def test_seconds_per_input_is_that_of_all_models_with_untimed_calls() -> None:
    track = Track()
    groups = [partial(nullcontext, [Runner("a", track, 1e6)]), partial(nullcontext, [Runner("b", track, 3e6)])]
    seconds = seconds_per_input(groups, np.zeros(9, np.int64), clock=track.clock)
    assert seconds == pytest.approx(4e-3 * (1 + 1 / BLOCK))
