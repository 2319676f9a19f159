"""The timing protocol on a clock that the subjects advance."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_measure.timing import BLOCK, interleave, latency, per_round, spread


class Bench:
    """A clock in nanoseconds with subjects of given cost; the machine may slow down."""

    def __init__(self, slowdown_per_second: float = 0.0) -> None:
        self.now = 0.0
        self.log: list[tuple[str, int]] = []
        self._slowdown = slowdown_per_second

    def clock(self) -> int:
        return int(self.now)

    def subject(self, name: str, cost_ns: float):  # type: ignore[no-untyped-def]
        def call(number: int) -> None:
            self.log.append((name, number))
            self.now += cost_ns * (1 + self._slowdown * self.now / 1e9)

        return call


def run(bench: Bench, costs: dict[str, float], runs: int = 30, min_seconds: float = 0.0, seed: int = 0):  # type: ignore[no-untyped-def]
    subjects = {name: bench.subject(name, cost) for name, cost in costs.items()}
    return interleave(subjects, runs=runs, min_seconds=min_seconds, seed=seed, clock=bench.clock)


def turns(bench: Bench) -> list[str]:
    """Return the subject of each block of BLOCK + 1 calls, after the warm-up of 20 calls each."""
    names = [name for name, _ in bench.log]
    return names[20 * len(set(names)) :: BLOCK + 1]


def test_interleave_times_belong_to_their_subject() -> None:
    times = run(Bench(), {"fast": 1000, "slow": 3000})
    assert times["fast"].shape == times["slow"].shape == (3, BLOCK)
    assert (times["fast"] == 1000).all()
    assert (times["slow"] == 3000).all()


def test_interleave_round_has_one_block_per_subject() -> None:
    bench = Bench()
    run(bench, {"a": 10, "b": 20, "c": 30}, runs=200)
    order = turns(bench)
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert len(rounds) == 20
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 3, "the order is drawn anew"


def test_interleave_order_depends_on_seed_only() -> None:
    orders = []
    for seed in (1, 1, 2):
        bench = Bench()
        run(bench, {"a": 10, "b": 20, "c": 30}, runs=200, seed=seed)
        orders.append(turns(bench))
    assert orders[0] == orders[1] != orders[2]


def test_interleave_continues_until_both_bounds_are_met() -> None:
    assert run(Bench(), {"a": 1e6}, runs=1)["a"].shape == (1, BLOCK)
    assert run(Bench(), {"a": 1e6}, runs=95)["a"].shape == (10, BLOCK)
    bench = Bench()
    times = run(bench, {"a": 1e6}, runs=1, min_seconds=1.0)
    assert times["a"].sum() >= 1e9 * BLOCK / (BLOCK + 1)


def test_interleave_drift_keeps_ratios() -> None:
    """The machine becomes several times slower, which does not affect ratios of interleaved blocks."""
    times = run(Bench(slowdown_per_second=4), {"one": 1e5, "two": 2e5}, runs=600)
    assert times["one"][-1].mean() > 1.5 * times["one"][0].mean()
    actual = spread(per_round(times["two"]) / per_round(times["one"]))
    assert actual.median == pytest.approx(2, rel=0.02)


def test_interleave_disables_garbage_collection() -> None:
    seen = []
    interleave({"a": lambda number: seen.append(gc.isenabled())}, runs=1, min_seconds=0, seed=0)
    assert not any(seen)
    assert gc.isenabled()

    def fail(number: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        interleave({"a": fail}, runs=1, min_seconds=0, seed=0)
    assert gc.isenabled()


def test_latency_returns_milliseconds() -> None:
    actual = latency(np.array([[1, 2, 3], [4, 5, 100]]) * 1_000_000)
    assert (actual.median, actual.mad, actual.runs) == (3.5, 1.5, 6)
    assert actual.p90 == pytest.approx(52.5)
    assert actual.p99 == pytest.approx(95.25)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_spread_interval_contains_median(values: list[float]) -> None:
    actual = spread(np.array(values))
    assert min(values) <= actual.ci95[0] <= actual.median <= actual.ci95[1] <= max(values)


@pytest.mark.parametrize("rounds", [10, 30, 101])
def test_spread_interval_has_nominal_coverage(rounds: int) -> None:
    draw = np.random.default_rng(0)
    intervals = [spread(draw.lognormal(size=rounds)).ci95 for _ in range(1000)]  # median exp(0) = 1
    assert np.mean([low <= 1 <= high for low, high in intervals]) >= 0.94
