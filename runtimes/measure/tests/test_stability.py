"""Stability of measurements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_measure.machine_state import MachineState
from eetool_measure.stability import (
    MAX_CI95,
    Steadiness,
    drift,
    interleave_until_steady,
    p90_to_median,
    relative_ci95,
)
from eetool_measure.timing import BLOCK

COOL = MachineState(None, None, None, None)
HOT = MachineState(None, None, 85.0, True)


def rounds(*medians_ms: float) -> np.ndarray:
    """Return (rounds, BLOCK) nanoseconds with equal calls in each round."""
    return np.repeat(np.array(medians_ms)[:, None] * 1e6, BLOCK, axis=1)


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        (Steadiness(0.01, 0.02, COOL, COOL), None),
        (Steadiness(0.2, 0.0, COOL, COOL), "a median is known to ±20% only"),
        (Steadiness(0.01, 0.0, COOL, COOL, 2.0), None),
        (Steadiness(0.01, 0.0, COOL, COOL, 48.3), "a tenth of the calls took 48.3 times the median or longer"),
        (Steadiness(0.01, 0.3, COOL, COOL), "times drifted by +30% while it lasted"),
        (Steadiness(0.01, -0.3, COOL, COOL), "times drifted by -30% while it lasted"),
        (Steadiness(0.01, 0.0, COOL, HOT), "the board was slowed down by heat or a weak supply"),
    ],
)
def test_steadiness_reasons_name_each_limit(actual: Steadiness, reason: Any) -> None:
    assert actual.reasons == (() if reason is None else (reason,))


def test_relative_ci95_equal_times_is_zero() -> None:
    same = {"a": rounds(*[2.0] * 30), "b": rounds(*[5.0] * 30)}
    assert relative_ci95(same) == drift(same) == 0.0


def test_relative_ci95_is_largest_over_subjects() -> None:
    wild = np.random.default_rng(0).uniform(1, 3, 30)
    assert (
        relative_ci95({"calm": rounds(*[2.0] * 30), "wild": rounds(*wild)})
        == relative_ci95({"wild": rounds(*wild)})
        > MAX_CI95
    )


def test_p90_to_median_is_largest_over_subjects() -> None:
    calm, held_up = rounds(*[2.0] * 30), rounds(*[2.0] * 30)
    held_up[:, -2:] *= 50  # two of ten calls wait for other programs, and the median does not show it
    assert p90_to_median({"calm": calm}) == 1.0
    assert p90_to_median({"calm": calm, "held up": held_up}) == pytest.approx(50)
    assert relative_ci95({"held up": held_up}) == 0.0


@given(st.floats(0.5, 2.0))
def test_drift_is_last_third_over_first(factor: float) -> None:
    assert drift({"a": rounds(*[1.0] * 10, *[1.2] * 10, *[factor] * 10)}) == pytest.approx(factor - 1)


@pytest.mark.parametrize(("costs", "times"), [([10] * 100, 1), ([10, 30] * 3000, 3)])
def test_interleave_until_steady_repeats_at_most_twice(costs: list[int], times: int) -> None:
    """A clock that a subject advances by constant or alternating times per block."""
    now, calls = [0], [0]

    def subject(number: int) -> None:
        now[0] += costs[calls[0] // (BLOCK + 1) % len(costs)] * 1000
        calls[0] += 1

    actual = interleave_until_steady({"a": subject}, ["a"], runs=200, min_seconds=0, seed=0, clock=lambda: now[0])
    assert actual["a"].shape == (20 * times, BLOCK)
