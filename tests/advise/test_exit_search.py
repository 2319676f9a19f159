"""Choice of exits: the same as by trying every choice, and none where no exit saves anything."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from eetool.advise.exit_search import HeldOut, find_exits, tuned_problem
from eetool.advise.trial_exits import TrialExit
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.margin_search import MarginSearch

SEGMENT = 10.0
PLACES = 4
EXITS = tuple(TrialExit(place, f"b{place}", kind) for place in range(PLACES) for kind in ("linear", "strong"))


def costs(exits: tuple[TrialExit, ...]) -> CascadeCosts:
    bounds = [0, *(e.place + 1 for e in exits), PLACES + 1]
    trunk = tuple(SEGMENT * (b - a) for a, b in pairwise(bounds))
    return CascadeCosts(trunk, tuple(0.2 if e.branch == "linear" else 3.0 for e in exits))


def held_out(n: int = 400) -> HeldOut:
    """Logits whose margin grows with depth, branch and ease of the input."""
    random = np.random.default_rng(0)
    labels, ease = random.integers(0, 5, n), random.normal(size=n)
    skills = [0.6 * e.place + (1.2 if e.branch == "strong" else 0.0) for e in EXITS] + [3.5]
    logits = random.normal(size=(len(skills), n, 5))
    for i, skill in enumerate(skills):
        logits[i, np.arange(n), labels] += np.maximum(skill + 2 * ease, 0)
    return HeldOut(EXITS, logits, labels)


@pytest.mark.parametrize("drop", [1.0, 5.0])
def test_find_exits_is_near_the_best_of_all_choices(drop: float) -> None:
    held = held_out()

    def tuned(exits: tuple[TrialExit, ...]) -> float:
        problem = tuned_problem(held, exits, costs(exits))
        return problem.evaluate(MarginSearch(problem, 1.0).cheapest(drop))[0]

    choices = [c for size in (1, 2) for c in combinations(EXITS, size) if len({e.place for e in c}) == size]
    best = min(map(tuned, choices))
    found = find_exits(held, costs, drop, most=2)
    assert tuned(found[0]) <= best * 1.02
    assert tuned(found[0]) < SEGMENT * (PLACES + 1)
    assert [tuned(choice) for choice in found[1:]] == sorted(map(tuned, found[1:]))


def test_find_exits_has_one_exit_per_place_from_shallow_to_deep() -> None:
    for exits in find_exits(held_out(120), costs, 5.0, most=3):
        places = [e.place for e in exits]
        assert places == sorted(set(places))


def test_find_exits_second_exit_that_saves_nothing_is_left_out() -> None:
    held = held_out(200)
    held.logits[1:] = held.logits[:1]  # every exit is as good as the first
    assert len(find_exits(held, costs, 5.0, most=2)[0]) == 1


def test_held_out_select_keeps_the_final_exit_last() -> None:
    held = held_out(10)
    part = held.select((EXITS[3],))
    np.testing.assert_array_equal(part.logits, held.logits[[3, -1]])
    np.testing.assert_array_equal(part.labels, held.labels)
