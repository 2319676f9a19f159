"""Sustained measurement on a simulated clock."""

from __future__ import annotations

import pytest

from eetool_measure.machine_state import MachineState
from eetool_measure.sustained import measure_sustained
from eetool_runtime.errors import UsageError

COOL, HOT = MachineState(None, None, 50.0, False), MachineState(None, None, 85.0, True)


class Board:
    """A subject that takes 100 ms, and 150 ms after a minute."""

    def __init__(self) -> None:
        self.now_ns = 0

    def call(self, number: int) -> None:
        self.now_ns += 100_000_000 if self.now_ns < 60e9 else 150_000_000

    def condition(self) -> MachineState:
        return COOL if self.now_ns < 60e9 else HOT


def test_measure_sustained_slowing_board_has_slowdown() -> None:
    board = Board()
    actual = measure_sustained(board.call, "fast", 120, clock=lambda: board.now_ns, condition=board.condition)
    assert (actual.operating_point, actual.seconds) == ("fast", 120)
    assert actual.slowdown == pytest.approx(0.5)
    assert 50 <= len(actual.windows) <= 60
    assert [w.at_s for w in actual.windows] == sorted(w.at_s for w in actual.windows)
    assert (actual.windows[0].condition, actual.windows[-1].condition) == (COOL, HOT)
    assert sum(w.latency_ms.runs for w in actual.windows) == pytest.approx(600 + 400, abs=10)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_measure_sustained_invalid_seconds_raise_usage_error(seconds: float) -> None:
    with pytest.raises(UsageError, match="a positive time"):
        measure_sustained(lambda number: None, "full", seconds)
