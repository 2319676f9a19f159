"""Fitting costs of parts to times of wholes: what is found again, what is not believed."""

import numpy as np
import pytest

from eetool.latency.build.robust_nnls import fit_costs, fold_indices, held_out_errors, relative_deviation

COSTS = np.array([1.0, 0.3, 3.0, 0.0])


@pytest.fixture
def columns() -> np.ndarray:
    counts = np.random.default_rng(1).integers(0, 5, (200, 3))
    return np.concatenate([np.ones((200, 1)), counts], axis=1).astype(float)


def test_costs_are_found_again(columns: np.ndarray) -> None:
    np.testing.assert_allclose(fit_costs(columns, columns @ COSTS), COSTS, atol=1e-6)


def test_units_do_not_matter(columns: np.ndarray) -> None:
    scaled = columns * np.array([1, 1e-6, 1e6, 1])
    found = fit_costs(scaled, columns @ COSTS * 1e3)
    np.testing.assert_allclose(found, COSTS * np.array([1, 1e6, 1e-6, 1]) * 1e3, rtol=1e-4, atol=1e-3)


def test_bad_moments_are_not_believed(columns: np.ndarray) -> None:
    """A fifth of the times are half as long again: the costs stay."""
    measured = columns @ COSTS
    measured[::5] *= 1.5
    np.testing.assert_allclose(fit_costs(columns, measured)[:3], COSTS[:3], rtol=0.05, atol=0.03)


def test_no_part_costs_less_than_nothing(columns: np.ndarray) -> None:
    measured = columns @ np.array([5.0, 0.3, 3.0, -0.2])
    assert np.all(fit_costs(columns, measured) >= 0)


def test_what_is_known_to_cost_more_does(columns: np.ndarray) -> None:
    least = np.array([0.0, 0.0, 0.0, 0.1])
    found = fit_costs(columns, columns @ COSTS, at_least=least)
    assert found[3] == pytest.approx(0.1)
    np.testing.assert_allclose(found[1:3], COSTS[1:3], atol=0.1)


def test_whole_groups_are_left_out(columns: np.ndarray) -> None:
    """One group costs twice as much: only leaving it out shows that nothing else told so."""
    group = np.arange(len(columns)) % 10 == 0
    measured = columns @ COSTS * np.where(group, 2.0, 1.0)
    errors = held_out_errors(columns, measured, group)
    np.testing.assert_allclose(errors[group], -0.5, atol=1e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_measurements_must_be_positive(columns: np.ndarray, bad: float) -> None:
    measured = columns @ COSTS
    measured[3] = bad
    with pytest.raises(ValueError, match="positive"):
        fit_costs(columns, measured)


def test_errors_are_those_of_networks_not_fitted_on(columns: np.ndarray) -> None:
    noise = np.random.default_rng(2).normal(1, 0.05, len(columns))
    errors = held_out_errors(columns, columns @ COSTS * noise)
    assert 0.03 < relative_deviation(errors) < 0.08
    lone = np.zeros((20, 1))
    lone[0] = 1.0  # a part of one network alone cannot be known without it
    some = np.concatenate([columns[:20], lone], axis=1)
    measured = some @ np.array([*COSTS, 4.0])
    assert held_out_errors(some, measured)[0] == pytest.approx(-4.0 / measured[0], rel=1e-3)


def test_folds_test_everything_once() -> None:
    tested = np.concatenate([test for _, test in fold_indices(23)])
    assert sorted(tested) == list(range(23))
    assert all(not set(train) & set(test) for train, test in fold_indices(23))
