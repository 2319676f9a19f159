"""Thresholds within a drop: the margin is kept, and a point that loses nothing is not refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.margin_search import MarginSearch
from eetool.tune.threshold_search import ThresholdProblem


def problem(seed: int, n: int, early: int) -> ThresholdProblem:
    """Examples from easy to hard; deeper exits are better, and most confidences follow from the difficulty."""
    random = np.random.default_rng(seed)
    hard = random.random(n)
    power = np.linspace(0.5, 0.95, early + 1)[:, None]
    correct = hard + random.normal(0, 0.1, (early + 1, n)) < power
    confidences = np.clip(1 - hard + random.normal(0, 0.2, (early + 1, n)), 0, 1).astype(np.float32)
    costs = CascadeCosts(tuple(random.uniform(1, 10, early + 1)), tuple(random.uniform(0, 3, early)))
    return ThresholdProblem(confidences, correct, costs)


problems = st.builds(problem, st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(0, 3))
drops = st.floats(0, 30)


@settings(max_examples=40)
@given(problems, drops, st.floats(0, 3))
def test_cheapest_any_problem_keeps_the_margin_or_loses_nothing(
    p: ThresholdProblem, drop: float, standard_errors: float
) -> None:
    choice = MarginSearch(p, standard_errors).cheapest(drop)
    cost, errors = p.evaluate(choice)
    assert cost <= p.evaluate((None,) * p.early)[0] + 1e-9
    free = len(set(choice) - {None})
    if not free or errors <= 0:
        return
    worse, better = p.changes(choice)
    differences = np.repeat([1.0, -1.0, 0.0], [worse, better, p.n - worse - better])
    margin = standard_errors * np.sqrt(free) * differences.std() / np.sqrt(p.n)
    assert 100 * (differences.mean() + margin) <= drop + 1e-6
    assert 100 * (errors + free) / (p.n + 1) <= drop + 1e-6


@settings(max_examples=20)
@given(problems, drops, st.floats(0, 3))
def test_cheapest_per_drop_larger_drop_costs_no_more(p: ThresholdProblem, drop: float, standard_errors: float) -> None:
    asked = (drop, 2 * drop, 4 * drop)
    found = MarginSearch(p, standard_errors).cheapest_per_drop(asked)
    costs = [p.evaluate(found[each])[0] for each in asked]
    assert costs == sorted(costs, reverse=True)


def harmless(n: int) -> ThresholdProblem:
    """One early exit that is always right, and so is full depth."""
    confidences = np.linspace(0.5, 1, 2 * n, dtype=np.float32).reshape(2, n)
    return ThresholdProblem(confidences, np.ones((2, n), bool), CascadeCosts((1, 100), (1,)))


def test_cheapest_point_that_loses_nothing_is_never_refused() -> None:
    search = MarginSearch(harmless(90), 1.0)
    assert search.cheapest(0.1) != (None,)
    assert search.problem.evaluate(search.cheapest(0.1)) == (2.0, 0)
    assert search.smallest_drop == pytest.approx(100 / 91)
    assert search.examples_for(1.0) == 99
    assert MarginSearch(harmless(99), 1.0).smallest_drop == pytest.approx(1.0)


def test_cheapest_part_of_the_examples_allows_as_many_errors_as_all_in_the_mean() -> None:
    """2 points allow one error of 100: of 90 in nine of ten repetitions, as one in ten holds none of the errors."""
    correct = np.ones((2, 90), bool)
    correct[0, 45] = False  # the less confident half needs this error
    p = ThresholdProblem(np.linspace(0.9, 0.1, 90)[None].repeat(2, 0), correct, CascadeCosts((1.0, 9.0), (0.0,)))
    errors = [p.evaluate(MarginSearch(p, 0.0, 100, (k + 0.5) / 10).cheapest(2.0))[1] for k in range(10)]
    assert sorted(errors) == [0, *[1] * 9]


def test_cheapest_exit_that_repairs_what_it_loses_is_not_refused() -> None:
    """The surest early prediction is worse than full depth, a less sure one better; no single gate is harmless."""
    confidences = np.array([[0.9, 0.8, 0.1], [1, 1, 1]], np.float32)
    correct = np.array([[False, True, False], [True, False, True]])
    search = MarginSearch(ThresholdProblem(confidences, correct, CascadeCosts((1, 10), (0,))), 1.0)
    (threshold,) = search.cheapest(1.0)
    assert threshold is not None
    assert 0.1 < threshold < 0.8


def test_examples_for_drop_that_no_number_supports_returns_none() -> None:
    p = harmless(90)
    useless = ThresholdProblem(p.confidences, np.stack([np.zeros(90, bool), np.ones(90, bool)]), p.costs)
    search = MarginSearch(useless, 1.0)
    assert search.cheapest(1.0) == (None,)
    assert search.examples_for(1.0) is None
    assert search.smallest_drop == pytest.approx(100 * 2 / 91, rel=0.5)


@pytest.mark.parametrize("n", [150, 600])
def test_examples_for_scaled_examples_support_the_drop(n: int) -> None:
    """As many copies of the examples as `examples_for` asks for support the drop, and one copy less does not."""
    p = problem(7, n, 2)
    search = MarginSearch(p, 1.0)
    asked = search.smallest_drop or 0.0
    asked = max(asked - 0.3, 0.05)
    needed = search.examples_for(asked)
    if needed is None:
        return
    assert needed > n
    more = MarginSearch(p, 1.0, needed)
    assert (more.smallest_drop or 0.0) <= asked + 1e-6
    assert (MarginSearch(p, 1.0, needed - 5).smallest_drop or 0.0) > asked
