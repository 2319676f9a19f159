"""What is asked of a front: the knee, an id, the best in a budget."""

from dataclasses import replace
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, BudgetError, UsageError
from eetool.search.result import Front, excess, pick, read_front, within

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def front() -> Front:
    return read_front(GOLDEN / "search-1.json")


def test_candidates_are_picked_by_knee_and_by_id(front: Front) -> None:
    cheapest, best = front.front[0], front.front[-1]
    assert pick(front, "knee").id == front.knee == best.id
    assert pick(front, cheapest.id[:4]) == cheapest
    for which in ("", "nothing"):
        with pytest.raises(UsageError, match="have an id like"):
            pick(front, which)


def test_a_budget_takes_the_most_accurate_that_keeps_to_it(front: Front) -> None:
    cheapest, best = front.front[0], front.front[-1]
    assert cheapest.figures.latency_ms is not None
    assert within(front, {}) == best
    assert within(front, {"latency_ms": cheapest.figures.latency_ms}) == cheapest
    with pytest.raises(BudgetError, match="--max-latency-ms"):
        within(front, {"latency_ms": 0.5 * cheapest.figures.latency_ms})


def test_excess_adds_up_over_limits(front: Front) -> None:
    candidate = front.front[0]
    half = {"macs": candidate.figures.macs / 2, "parameters": candidate.figures.parameters / 3}
    assert excess(candidate, half) == pytest.approx(1 + 2)
    assert excess(candidate, {"macs": candidate.figures.macs}) == 0
    accuracy = 2 * candidate.figures.accuracy
    assert excess(candidate, {"min_accuracy": accuracy}) == pytest.approx(0.5)
    unknown = replace(candidate, figures=replace(candidate.figures, energy_mj=None))
    assert excess(unknown, {"energy_mj": 1e-9}) == 0


def test_another_document_is_no_front() -> None:
    with pytest.raises(ArtefactError, match="search/1"):
        read_front(GOLDEN / "bench-1.json")
