"""Thresholds: never more errors than allowed, never dearer than the obvious choices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.tune.costs import Costs
from eetool.tune.metrics import Thresholds
from eetool.tune.thresholds import Problem, cheapest


def problem(seed: int, n: int, early: int) -> Problem:
    """Examples from easy to hard; exits that see more the deeper they are, and know it, more or less."""
    random = np.random.default_rng(seed)
    hard = random.random(n)
    power = np.linspace(0.5, 0.95, early + 1)[:, None]
    correct = hard + random.normal(0, 0.1, (early + 1, n)) < power
    confidences = np.clip(1 - hard + random.normal(0, 0.2, (early + 1, n)), 0, 1).astype(np.float32)
    costs = Costs(tuple(random.uniform(1, 10, early + 1)), tuple(random.uniform(0, 3, early)))
    return Problem(confidences, correct, costs)


problems = st.builds(problem, st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(0, 3))
drops = st.floats(0, 30)


def everything_allowed(p: Problem, drop: float, options: list[Thresholds]) -> list[float]:
    """Costs of those options that keep the accuracy."""
    evaluated = [p.evaluate(option) for option in options]
    return [cost for cost, errors in evaluated if errors <= p.allowed_errors(drop)]


@given(problems, drops)
def test_no_more_errors_are_made_than_allowed(p: Problem, drop: float) -> None:
    _, errors = p.evaluate(cheapest(p, drop))
    assert errors <= max(0, p.allowed_errors(drop))


@given(problems, drops)
def test_full_depth_and_every_shared_threshold_cost_as_much_or_more(p: Problem, drop: float) -> None:
    cost, _ = p.evaluate(cheapest(p, drop))
    assert cost <= p.evaluate((None,) * p.early)[0]
    shared: list[Thresholds] = [(float(value),) * p.early for value in np.unique(p.confidences)]
    assert all(cost <= other + 1e-9 for other in everything_allowed(p, drop, shared))


@given(st.builds(problem, st.integers(0, 2**32 - 1), st.integers(2, 30), st.just(1)), drops)
def test_with_one_early_exit_nothing_is_cheaper(p: Problem, drop: float) -> None:
    cost, _ = p.evaluate(cheapest(p, drop))
    anything: list[Thresholds] = [(float(value),) for value in np.unique(p.confidences[0])]
    assert all(cost <= other + 1e-9 for other in everything_allowed(p, drop, anything))


@given(problems, drops)
def test_more_freedom_costs_no_more(p: Problem, drop: float) -> None:
    assert p.evaluate(cheapest(p, drop))[0] <= p.evaluate(cheapest(p, drop / 2))[0] + 1e-9


@given(problems, drops)
def test_no_threshold_lies_on_a_confidence_where_rounding_would_decide(p: Problem, drop: float) -> None:
    for threshold, confidences in zip(cheapest(p, drop), p.confidences, strict=False):
        assert threshold is None or threshold not in confidences


@pytest.mark.parametrize(("n", "drop", "allowed"), [(98, 1, -0.01), (99, 1, 0), (252, 1, 1.53), (999, 0.7, 6)])
def test_one_error_is_charged_in_advance(n: int, drop: float, allowed: float) -> None:
    assert problem(0, n, 1).allowed_errors(drop) == pytest.approx(allowed, abs=1e-12)


def test_a_split_too_small_for_the_drop_keeps_full_depth() -> None:
    confidences = np.linspace(0.5, 1, 2 * 98, dtype=np.float32).reshape(2, 98)
    harmless = Problem(confidences, np.ones((2, 98), bool), Costs((1, 100), (1,)))
    assert cheapest(harmless, max_accuracy_drop=1) == (None,)
    assert cheapest(harmless, max_accuracy_drop=2) != (None,)
