"""Thresholds: never more errors than allowed, never dearer than the obvious choices."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds
from eetool.tune.threshold_search import (
    ThresholdProblem,
    cheapest,
    cost_error_front,
    most_accurate,
    threshold_of,
)


def problem(seed: int, n: int, early: int) -> ThresholdProblem:
    """Examples from easy to hard; exits that see more the deeper they are, and know it, more or less."""
    random = np.random.default_rng(seed)
    hard = random.random(n)
    power = np.linspace(0.5, 0.95, early + 1)[:, None]
    correct = hard + random.normal(0, 0.1, (early + 1, n)) < power
    confidences = np.clip(1 - hard + random.normal(0, 0.2, (early + 1, n)), 0, 1).astype(np.float32)
    costs = CascadeCosts(tuple(random.uniform(1, 10, early + 1)), tuple(random.uniform(0, 3, early)))
    return ThresholdProblem(confidences, correct, costs)


problems = st.builds(problem, st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(0, 3))
drops = st.floats(0, 30)


def everything_allowed(p: ThresholdProblem, drop: float, options: list[Thresholds]) -> list[float]:
    """Costs of those options that keep the accuracy."""
    evaluated = [p.evaluate(option) for option in options]
    return [cost for cost, errors in evaluated if errors <= p.allowed_errors(drop)]


@given(problems, drops)
def test_cheapest_any_problem_errors_stay_within_the_allowed(p: ThresholdProblem, drop: float) -> None:
    _, errors = p.evaluate(cheapest(p, drop))
    assert errors <= max(0, p.allowed_errors(drop))


@given(problems, drops)
def test_cheapest_any_problem_costs_at_most_full_depth_or_a_shared_threshold(p: ThresholdProblem, drop: float) -> None:
    cost, _ = p.evaluate(cheapest(p, drop))
    assert cost <= p.evaluate((None,) * p.early)[0]
    shared: list[Thresholds] = [(float(value),) * p.early for value in np.unique(p.confidences)]
    assert all(cost <= other + 1e-9 for other in everything_allowed(p, drop, shared))


@given(st.builds(problem, st.integers(0, 2**32 - 1), st.integers(2, 30), st.just(1)), drops)
def test_cheapest_one_early_exit_is_optimal(p: ThresholdProblem, drop: float) -> None:
    cost, _ = p.evaluate(cheapest(p, drop))
    anything: list[Thresholds] = [(float(value),) for value in np.unique(p.confidences[0])]
    assert all(cost <= other + 1e-9 for other in everything_allowed(p, drop, anything))


@given(problems, drops)
def test_cheapest_larger_drop_costs_no_more(p: ThresholdProblem, drop: float) -> None:
    assert p.evaluate(cheapest(p, drop))[0] <= p.evaluate(cheapest(p, drop / 2))[0] + 1e-9


@given(problems, drops)
def test_cheapest_thresholds_lie_between_confidences(p: ThresholdProblem, drop: float) -> None:
    for threshold, confidences in zip(cheapest(p, drop), p.confidences, strict=False):
        always = threshold == 0  # fires for every confidence, also for those that are 0
        assert threshold is None or always or threshold not in confidences


@pytest.mark.parametrize(("n", "drop", "allowed"), [(98, 1, -0.01), (99, 1, 0), (252, 1, 1.53), (999, 0.7, 6)])
def test_allowed_errors_charges_one_error_in_advance(n: int, drop: float, allowed: float) -> None:
    assert problem(0, n, 1).allowed_errors(drop) == pytest.approx(allowed, abs=1e-12)


def test_cheapest_split_too_small_returns_full_depth() -> None:
    confidences = np.linspace(0.5, 1, 2 * 98, dtype=np.float32).reshape(2, 98)
    harmless = ThresholdProblem(confidences, np.ones((2, 98), bool), CascadeCosts((1, 100), (1,)))
    assert cheapest(harmless, max_accuracy_drop=1) == (None,)
    assert cheapest(harmless, max_accuracy_drop=2) != (None,)


small = st.builds(problem, st.integers(0, 2**32 - 1), st.integers(4, 9), st.integers(2, 3))


def every_choice(p: ThresholdProblem) -> list[Thresholds]:
    return list(product(*(list(map(threshold_of, p.vary((None,) * p.early, i)[0])) for i in range(p.early))))


@given(problems, st.data())
def test_vary_everythreshold_of_has_its_cost_and_errors(p: ThresholdProblem, data: st.DataObject) -> None:
    if not p.early:
        return
    index = data.draw(st.integers(0, p.early - 1))
    held = tuple(data.draw(st.one_of(st.none(), st.floats(0, 1))) for _ in range(p.early))
    for value, cost, errors, worse in zip(*p.vary(held, index), strict=True):
        changed = (*held[:index], threshold_of(value), *held[index + 1 :])
        assert p.evaluate(changed) == pytest.approx((cost, errors))
        assert p.changes(changed)[0] == worse


@given(problems)
def test_evaluate_all_equals_evaluating_each(p: ThresholdProblem) -> None:
    values = [None, *np.unique(p.confidences).tolist()[:4]]
    choices = list(product(values, repeat=p.early))
    costs, errors, worse = p.evaluate_all(choices)
    assert list(zip(costs.tolist(), errors.tolist(), strict=True)) == [p.evaluate(choice) for choice in choices]
    assert worse.tolist() == [p.changes(choice)[0] for choice in choices]


@given(st.builds(problem, st.integers(0, 2**32 - 1), st.integers(2, 60), st.just(2)))
def test_vary_after_other_thresholds_equals_that_of_a_fresh_problem(p: ThresholdProblem) -> None:
    first, second = np.quantile(p.confidences, [0.3, 0.7]).tolist()
    for thresholds in ((first, second), (first, None), (second, None), (None, first), (first, second)):
        for index in range(2):
            fresh = ThresholdProblem(p.confidences, p.correct, p.costs)
            for kept, new in zip(p.vary(thresholds, index), fresh.vary(thresholds, index), strict=True):
                np.testing.assert_array_equal(kept, new)


def test_cheapest_small_problems_is_nearly_always_optimal() -> None:
    """Against every combination of thresholds there is, on problems small enough to try them all."""
    exact = 0
    for seed in range(60):
        p = problem(seed, 8, 2 + seed % 2)
        least = min(everything_allowed(p, 30, every_choice(p)))
        found = p.evaluate(cheapest(p, 30))[0]
        exact += found <= least + 1e-9
    assert exact >= 57


@given(small, st.floats(0, 1))
def test_most_accurate_any_budget_keeps_it_and_beats_shared_thresholds(p: ThresholdProblem, share: float) -> None:
    cheap, dear = min(p.evaluate(c)[0] for c in every_choice(p)), p.evaluate((None,) * p.early)[0]
    budget = cheap + share * max(dear - cheap, 0)
    cost, errors = p.evaluate(most_accurate(p, budget))
    assert cost <= budget + 1e-9
    for value in np.unique(p.confidences):
        other, mistakes = p.evaluate((float(value),) * p.early)
        assert other > budget or errors <= mistakes


def test_most_accurate_unreachable_budget_returns_the_cheapest() -> None:
    p = problem(3, 8, 2)
    assert p.evaluate(most_accurate(p, 0.0))[0] == pytest.approx(
        min(p.evaluate(c)[0] for c in every_choice(p)), rel=0.05
    )


@given(problems)
def test_cost_error_front_each_choice_is_cheaper_with_more_errors(p: ThresholdProblem) -> None:
    figures = [p.evaluate(choice) for choice in cost_error_front(p)]
    for (dear, few), (cheap, many) in pairwise(figures):
        assert cheap < dear
        assert many > few


def test_cheapest_unlike_gates_beats_a_shared_threshold() -> None:
    """An exit that is sure of everything, and one whose word counts: one number cannot serve both."""
    random = np.random.default_rng(0)
    n = 1000
    loud = np.stack([random.uniform(0.9, 1, n), random.uniform(0, 1, n), np.ones(n)]).astype(np.float32)
    correct = np.stack([random.random(n) < 0.5, loud[1] > 0.3, np.ones(n, bool)])
    p = ThresholdProblem(loud, correct, CascadeCosts((1.0, 1.0, 10.0), (0.1, 0.1)))
    found = p.evaluate(cheapest(p, 2))[0]
    shared: list[Thresholds] = [(float(value),) * 2 for value in np.unique(p.confidences)]
    assert found < 0.6 * min(everything_allowed(p, 2, shared), default=p.evaluate((None, None))[0])
