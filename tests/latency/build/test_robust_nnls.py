"""Robust non-negative fits of the costs of parts to measurements of wholes."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from eetool.latency.build.robust_nnls import fit_costs, fold_indices, held_out_errors, relative_deviation, robust_nnls

COSTS = np.array([1.0, 0.3, 3.0, 0.0])


@pytest.fixture
def columns() -> np.ndarray:
    counts = np.random.default_rng(1).integers(0, 5, (200, 3))
    return np.concatenate([np.ones((200, 1)), counts], axis=1).astype(float)


def test_fit_costs_exact_data_recovers_costs(columns: np.ndarray) -> None:
    np.testing.assert_allclose(fit_costs(columns, columns @ COSTS), COSTS, atol=1e-6)


def test_fit_costs_other_units_gives_scaled_costs(columns: np.ndarray) -> None:
    scaled = columns * np.array([1, 1e-6, 1e6, 1])
    costs = fit_costs(scaled, columns @ COSTS * 1e3)
    np.testing.assert_allclose(costs, COSTS * np.array([1, 1e6, 1e-6, 1]) * 1e3, rtol=1e-4, atol=1e-3)


def test_fit_costs_with_outliers_recovers_costs(columns: np.ndarray) -> None:
    """A fifth of the measurements are 1.5 times too long."""
    measured = columns @ COSTS
    measured[::5] *= 1.5
    np.testing.assert_allclose(fit_costs(columns, measured)[:3], COSTS[:3], rtol=0.05, atol=0.03)


def test_fit_costs_negative_part_is_not_negative(columns: np.ndarray) -> None:
    measured = columns @ np.array([5.0, 0.3, 3.0, -0.2])
    assert np.all(fit_costs(columns, measured) >= 0)


def test_fit_costs_at_least_respects_lower_bounds(columns: np.ndarray) -> None:
    least = np.array([0.0, 0.0, 0.0, 0.1])
    costs = fit_costs(columns, columns @ COSTS, at_least=least)
    assert costs[3] == pytest.approx(0.1)
    np.testing.assert_allclose(costs[1:3], COSTS[1:3], atol=0.1)


def test_held_out_errors_groups_are_held_out(columns: np.ndarray) -> None:
    """One group costs twice as much, which only a fit without it reveals."""
    group = np.arange(len(columns)) % 10 == 0
    measured = columns @ COSTS * np.where(group, 2.0, 1.0)
    errors = held_out_errors(columns, measured, group)
    np.testing.assert_allclose(errors[group], -0.5, atol=1e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_fit_costs_invalid_measurement_raises_value_error(columns: np.ndarray, bad: float) -> None:
    measured = columns @ COSTS
    measured[3] = bad
    with pytest.raises(ValueError, match="positive"):
        fit_costs(columns, measured)


def test_held_out_errors_are_of_networks_not_fitted_on(columns: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(1, 0.05, len(columns))
    errors = held_out_errors(columns, columns @ COSTS * noise)
    assert 0.03 < relative_deviation(errors) < 0.08
    lone = np.zeros((20, 1))
    lone[0] = 1.0  # the part of a single network cannot be fitted without it
    some = np.concatenate([columns[:20], lone], axis=1)
    measured = some @ np.array([*COSTS, 4.0])
    assert held_out_errors(some, measured)[0] == pytest.approx(-4.0 / measured[0], rel=1e-3)


def test_fold_indices_test_every_index_once() -> None:
    tested = np.concatenate([test for _, test in fold_indices(23)])
    assert sorted(tested) == list(range(23))
    assert all(not set(train) & set(test) for train, test in fold_indices(23))


def test_robust_nnls_equals_least_squares_with_huber_loss(columns: np.ndarray) -> None:
    target = columns @ COSTS * np.random.default_rng(3).normal(1, 0.1, len(columns))
    terms, target = columns / target[:, None], np.ones(len(columns))
    fit = least_squares(
        lambda costs: terms @ costs - target, np.ones(4), bounds=(0, np.inf), loss="huber", f_scale=0.05, xtol=1e-12
    )
    np.testing.assert_allclose(robust_nnls(terms, target, 0.05), fit.x, atol=1e-3)
