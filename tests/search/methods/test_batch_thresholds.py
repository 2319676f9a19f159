"""Thresholds for many choices at once, against the thorough search of `tune`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.search.methods.batch_thresholds import ThresholdRows, cheapest_at_drops, price_sweep
from eetool.tune.threshold_search import ThresholdProblem, cheapest


def problem(early: int, seed: int = 0, levels: int | None = None) -> ThresholdProblem:
    """Return a problem whose deeper exits are better; with `levels` many confidences are equal."""
    rng = np.random.default_rng(seed)
    n = 500
    correct = rng.random((early + 1, n)) < np.linspace(0.6, 0.9, early + 1)[:, None]
    confidences = np.clip(0.5 * correct + 0.5 * rng.random((early + 1, n)), 0, 1)
    if levels is not None:
        confidences = np.round(confidences * levels) / levels
    return ThresholdProblem(confidences.astype(np.float32), correct, CascadeCosts((1.0,) * (early + 1), (0.2,) * early))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(0, 99), st.sampled_from([None, 8]))
def test_vary_costs_and_errors_are_those_of_every_choice(early: int, seed: int, levels: int | None) -> None:
    p = problem(early, seed, levels)
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((3, early)) < 0.3, np.inf, rng.random((3, early)))
    i = int(rng.integers(early))
    tried, costs, errors = ThresholdRows(p, values).vary(i)
    for row, column in zip(rng.integers(3, size=5), rng.integers(len(tried), size=5), strict=True):
        choice = [None if v == np.inf else float(v) for v in values[row]]
        choice[i] = None if tried[column] == np.inf else float(tried[column])
        cost, wrong = p.evaluate(tuple(choice))
        assert costs[row, column] == pytest.approx(cost)
        assert errors[row, column] == wrong


def test_price_sweep_one_exit_is_the_best_threshold_of_every_price() -> None:
    p = problem(1)
    values, costs, errors, _ = p.vary((None,), 0)
    found = [p.evaluate(choice) for choice in price_sweep(ThresholdRows(p, np.full((1, 1), np.inf)), 5)]
    scale = float(p.costs.leaving((0.0,)).max())
    for price in np.geomspace(100, 1e-3, 5) * scale / p.n:
        assert min(c + price * e for c, e in found) == pytest.approx(float((costs + price * errors).min()))
    assert len(values) > 100


@pytest.mark.parametrize("early", [2, 3])
def test_cheapest_at_drops_is_about_as_cheap_as_the_thorough_search(early: int) -> None:
    p = problem(early)
    drops = (2.0, 1.0, 0.5)
    found = [p.evaluate(choice) for choice in cheapest_at_drops(p, drops)]
    assert all(errors <= p.allowed_errors(drop) for (_, errors), drop in zip(found, drops, strict=True))
    assert found[0][0] <= found[1][0] <= found[2][0]
    assert found[0][0] < 1.04 * p.evaluate(cheapest(p, drops[0]))[0]


def test_cheapest_at_drops_without_exits_or_errors_is_full_depth() -> None:
    assert cheapest_at_drops(problem(0), (2.0, 1.0)) == [(), ()]
    assert cheapest_at_drops(problem(2), (0.1,)) == [(None, None)]  # 500 examples allow no error
