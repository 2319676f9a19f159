"""Results of a search: front, history, limits, and candidates by knee or id."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, BudgetError, UsageError
from eetool.search.methods import pareto
from eetool.search.search_results import (
    Candidate,
    CandidatePoint,
    EvaluatedCandidate,
    Front,
    front_of,
    history_of,
    limit_excess,
    objective_points,
    pick_candidate,
    read_front,
)

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def front() -> Front:
    return read_front(GOLDEN / "search-1.json")


def test_pick_candidate_accepts_knee_and_id(front: Front) -> None:
    cheapest, best = front.front[0], front.front[-1]
    assert pick_candidate(front, "knee").id == front.knee
    assert pick_candidate(front, best.id) == best
    assert pick_candidate(front, cheapest.id[:4]) == cheapest
    for which in ("", "nothing"):
        with pytest.raises(UsageError, match="have an id like"):
            pick_candidate(front, which)


def test_limit_excess_adds_up_over_limits(front: Front) -> None:
    candidate = front.front[0]
    half = {"macs": candidate.figures.macs / 2, "parameters": candidate.figures.parameters / 3}
    assert limit_excess(candidate, half) == pytest.approx(1 + 2)
    assert limit_excess(candidate, {"macs": candidate.figures.macs}) == 0
    accuracy = 2 * candidate.figures.accuracy
    assert limit_excess(candidate, {"min_accuracy": accuracy}) == pytest.approx(0.5)
    unknown = replace(candidate, figures=replace(candidate.figures, energy_mj=None))
    assert limit_excess(unknown, {"energy_mj": 1e-9}) == 0


def test_history_of_hypervolume_grows_with_front(front: Front) -> None:
    a, b, c, d = front.front
    limits = {"macs": c.figures.macs}
    steps = history_of((d, b, a, b, c), "latency_ms", limits, front.reference)
    assert [step.evaluated for step in steps] == [1, 2, 3, 4, 5]
    assert [step.id for step in steps] == [x.id for x in (d, b, a, b, c)]
    assert [step.feasible for step in steps] == [False, True, True, True, True]
    assert [step.latency_ms for step in steps] == [x.figures.latency_ms for x in (d, b, a, b, c)]
    areas = [step.hypervolume for step in steps]
    assert areas[0] == 0 < areas[1] < areas[2] == areas[3] < areas[4]

    def area(kept: list[Candidate]) -> float:
        return pareto.hypervolume(objective_points(kept, "latency_ms"), front.reference)

    assert areas[-1] == area([a, b, c]) == area(front_of((a, b, c, d), "latency_ms", limits))


def _evaluated(candidate: Candidate, name: str, accuracy: float, latency_ms: float) -> EvaluatedCandidate:
    figures = replace(candidate.figures, accuracy=accuracy, latency_ms=latency_ms)
    return EvaluatedCandidate(
        **vars(candidate), others=(CandidatePoint(name, (None,) * len(candidate.thresholds), figures),)
    )


def test_front_of_includes_further_operating_points(front: Front) -> None:
    cheapest = front.front[0]
    latency_ms = cheapest.figures.latency_ms or 0.0
    better = _evaluated(cheapest, "full", cheapest.figures.accuracy + 0.01, 2 * latency_ms)
    worse = _evaluated(cheapest, "full", cheapest.figures.accuracy - 0.01, 2 * latency_ms)
    assert [c.id for c in front_of([better], "latency_ms", {})] == [cheapest.id, f"{cheapest.id}@full"]
    assert front_of([worse], "latency_ms", {}) == [cheapest]
    (step,) = history_of([better], "latency_ms", {"min_accuracy": cheapest.figures.accuracy + 0.005}, front.reference)
    assert (step.id, step.accuracy, step.feasible) == (cheapest.id, cheapest.figures.accuracy, True)
    (only,) = front_of([better], "latency_ms", {"min_accuracy": cheapest.figures.accuracy + 0.005})
    assert only.figures.latency_ms == 2 * latency_ms


def test_pick_candidate_accepts_id_of_operating_point(front: Front) -> None:
    cheapest, *rest = front.front
    full = replace(cheapest, id=f"{cheapest.id}@full")
    several = replace(front, front=(cheapest, full, *rest))
    assert pick_candidate(several, cheapest.id) == pick_candidate(several, cheapest.id[:4]) == cheapest
    assert pick_candidate(several, full.id) == full


def test_golden_front_history_is_consistent(front: Front) -> None:
    assert len(front.history) == front.evaluated
    assert sum(step.feasible for step in front.history) == front.feasible
    assert front.history[-1].hypervolume == front.hypervolume
    assert {c.id for c in front.front} <= {step.id for step in front.history}


def test_read_front_without_history_returns_empty_history(front: Front, tmp_path: Path) -> None:
    document = json.loads((GOLDEN / "search-1.json").read_text())
    del document["history"]
    (tmp_path / "early.json").write_text(json.dumps(document))
    assert read_front(tmp_path / "early.json") == replace(front, history=())


def test_read_front_other_document_raises_artefact_error() -> None:
    with pytest.raises(ArtefactError, match="search/1"):
        read_front(GOLDEN / "bench-1.json")


def test_front_of_impossible_budget_names_nearest_operating_point(front: Front) -> None:
    cheapest = front.front[0]
    better = _evaluated(cheapest, "full", cheapest.figures.accuracy + 0.01, 2 * (cheapest.figures.latency_ms or 0.0))
    with pytest.raises(BudgetError, match="none of 1 candidates") as caught:
        front_of([better], "latency_ms", {"min_accuracy": cheapest.figures.accuracy + 0.02})
    assert f"{cheapest.figures.accuracy + 0.01:.6g}" in str(caught.value.hint)
