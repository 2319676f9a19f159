"""A warning before the training where the held-out examples will be too few."""

import pytest

from eetool.model.goals import fewest_examples
from eetool.progress import Silent
from eetool.train.few_examples import warn_few_held_out


class Notes(Silent):
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(("n", "warned"), [(90, True), (198, True), (199, False), (5000, False)])
def test_warn_few_held_out_below_what_balanced_takes(n: int, warned: bool) -> None:
    notes = Notes()
    warn_few_held_out(n, notes)
    assert bool(notes.lines) == warned
    assert not warned or (f"{n} examples" in notes.lines[0] and "takes 99 and 199 at least" in notes.lines[0])


@pytest.mark.parametrize("drop", [0.3, 0.5, 1.0, 7.0])
def test_fewest_examples_is_the_least_number_that_a_harmless_exit_takes(drop: float) -> None:
    n = fewest_examples(drop)
    assert n is not None
    assert 100 / (n + 1) <= drop + 1e-9 < 100 / n
