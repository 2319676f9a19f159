"""Temperatures, on logits whose temperature is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from eetool.tune.calibration import Calibration, fit_platt, fit_temperature


def overconfident(temperature: float, n: int = 4000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large for the labels that were drawn from them."""
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (n, classes))
    labels = (softmax(honest, axis=1).cumsum(1) > random.random((n, 1))).argmax(1)
    return (honest * temperature).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.2, 1.0, 2.5, 10.0])
def test_fit_temperature_known_temperature_is_recovered(temperature: float) -> None:
    assert fit_temperature(*overconfident(temperature)) == pytest.approx(temperature, rel=0.1)


@given(st.floats(0.25, 4))
def test_fit_temperature_scaled_logits_scale_the_temperature(factor: float) -> None:
    logits, labels = overconfident(1.0, n=200)
    once = fit_temperature(logits, labels)
    assert fit_temperature((logits * factor).astype(np.float64), labels) == pytest.approx(once * factor, rel=0.01)


@pytest.mark.parametrize("n", [5, 100, 1000])
def test_fit_temperature_split_without_errors_stays_above_zero(n: int) -> None:
    labels = np.arange(n) % 3
    logits = 10.0 * np.eye(3, dtype=np.float32)[labels]
    confidence = softmax(logits / fit_temperature(logits, labels), axis=1).max(1)
    assert confidence == pytest.approx(1 - 1 / (n + 2), abs=1e-3)


def test_fit_temperature_random_exit_gives_confidences_near_chance() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 5, (500, 4)), random.integers(0, 4, 500)
    confidence = softmax(logits / fit_temperature(logits, labels), axis=1).max(1)
    assert confidence.mean() < 0.4


def test_fit_platt_known_slope_and_offset_are_recovered() -> None:
    random = np.random.default_rng(0)
    odds = random.normal(1, 2, 20_000)
    for slope, offset in ((0.5, 0.0), (1.5, -1.0), (0.2, 2.0)):
        correct = random.random(len(odds)) < expit(slope * odds + offset)
        assert fit_platt(odds, correct) == pytest.approx((slope, offset), abs=0.06)


def test_fit_platt_exit_without_errors_stays_below_certainty() -> None:
    odds = np.random.default_rng(0).normal(5, 1, 200)
    slope, offset = fit_platt(odds, np.ones(200, bool))
    assert expit(slope * odds + offset).mean() == pytest.approx(201 / 202, abs=1e-3)


def test_fit_platt_useless_score_keeps_the_order() -> None:
    odds = np.linspace(-3, 3, 100)
    slope, offset = fit_platt(odds, odds < 0)  # the surer, the more wrong
    assert slope > 0
    assert abs(expit(slope * odds + offset) - 0.5).max() < 0.1


def test_calibration_undo_returns_the_confidences_before_platt() -> None:
    calibration = Calibration((1.0, 1.0, 1.0), (0.5, 2.0, 1.0), (1.0, -1.0, 0.0))
    before = np.random.default_rng(0).uniform(0.05, 0.95, (3, 50))
    made = calibration.apply(np.log(before / (1 - before)))
    assert np.allclose(calibration.undo(made[:2]), before[:2])
    assert (calibration.method, Calibration((1.0,)).method) == ("platt", "temperature")
