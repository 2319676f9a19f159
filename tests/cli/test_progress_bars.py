"""Lines about long work where standard error is no terminal."""

import pytest

from eetool.cli import progress_bars
from eetool.cli.progress_bars import Pace, TerminalProgress


class Clock:
    """A clock that the test sets, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_bars, "monotonic", clock)
    return clock


def lines_of_run(clock: Clock, seconds: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines about a block of work with 20 steps in each second."""
    with TerminalProgress()("training", 20 * seconds) as advance:
        for _ in range(seconds):
            clock.now += 1
            advance(20)
    return capsys.readouterr().err.splitlines()


def test_terminal_progress_short_work_off_a_terminal_says_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines_of_run(clock, 29, capsys) == []


def test_terminal_progress_long_work_off_a_terminal_says_examples_per_second_ever_more_rarely(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines_of_run(clock, 300, capsys) == [
        "training: 600 of 6000, 20/s",
        "training: 1800 of 6000, 20/s",
        "training: 4200 of 6000, 20/s",
        "training: 6000 in 300 s, 20/s",
    ]


def test_terminal_progress_hours_of_work_say_something_every_ten_minutes(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(lines_of_run(clock, 7200, capsys)) == 5 + (7200 - 30 * 31) // 600 + 1


@pytest.mark.parametrize(("steps", "text"), [(0, ""), (1, "0.5/s"), (3, "1.5/s"), (2469, "1234/s")])
def test_pace_few_steps_per_second_have_a_decimal(clock: Clock, steps: int, text: str) -> None:
    pace = Pace()
    pace.add(steps)
    clock.now = 2.0
    assert str(pace) == text
