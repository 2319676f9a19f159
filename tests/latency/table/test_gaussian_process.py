"""Gaussian processes, compared with scikit-learn and with predictions from all other values."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from eetool.latency.table.gaussian_process import (
    leave_one_out_deviations,
    leave_one_out_errors,
    matern_covariance,
)

LENGTH, NOISE = 4.0, 0.03


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 8, (30, 5))


def test_matern_covariance_equals_scikit_learn(points: np.ndarray) -> None:
    expected = Matern(LENGTH, nu=1.5)(points, points[:7])
    np.testing.assert_allclose(matern_covariance(points, points[:7], LENGTH), expected, atol=1e-7)


def test_leave_one_out_equals_scikit_learn_without_the_point(points: np.ndarray) -> None:
    values = np.sin(points).sum(axis=1)
    inverse = np.linalg.inv(matern_covariance(points, points, LENGTH) + NOISE * np.eye(len(points)))
    errors, deviations = leave_one_out_errors(inverse, values), leave_one_out_deviations(inverse)
    for index in (0, 11, 29):
        others = np.arange(len(points)) != index
        process = GaussianProcessRegressor(Matern(LENGTH, "fixed", nu=1.5), alpha=NOISE, optimizer=None)
        process.fit(points[others], values[others])
        (mean,), (deviation,) = process.predict(points[index : index + 1], return_std=True)
        assert errors[index] == pytest.approx(values[index] - mean, abs=1e-6)
        assert deviations[index] == pytest.approx(np.hypot(deviation, NOISE**0.5), abs=1e-6)
