"""Metrics, compared with their definitions written as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax

from eetool.metrics import exits_taken, expected_calibration_error, is_chance, softmax_confidence

shares = st.floats(0, 1, width=32)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.floats(-50, 50, width=32)),
    st.floats(0.05, 20),
)
def test_softmax_confidence_equals_largest_probability(logits: np.ndarray, temperature: float) -> None:
    confidence = softmax_confidence(logits, temperature)
    assert confidence.dtype == np.float32
    assert np.allclose(confidence, softmax(logits.astype(np.float64) / temperature, axis=1).max(1), atol=1e-5)


def exit_taken(confidences: np.ndarray, thresholds: list[float | None]) -> int:
    for i, threshold in enumerate(thresholds):
        if threshold is not None and confidences[i] >= threshold:
            return i
    return len(thresholds)


@given(st.data(), st.integers(0, 4), st.integers(1, 9))
def test_exits_taken_equals_first_exit_above_threshold(data: st.DataObject, early: int, n: int) -> None:
    confidences = data.draw(arrays.arrays(np.float32, (early + 1, n), elements=shares))
    near = st.sampled_from(sorted(set(confidences.ravel().tolist())))
    thresholds = data.draw(st.lists(st.none() | near | shares, min_size=early, max_size=early))
    expected = [exit_taken(confidences[:, j], thresholds) for j in range(n)]
    assert exits_taken(confidences, tuple(thresholds)).tolist() == expected


def test_exits_taken_threshold_none_never_fires() -> None:
    assert exits_taken(np.ones((2, 3), np.float32), (None,)).tolist() == [1, 1, 1]


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_expected_calibration_error_equals_definition(n: int, bins: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    confidence, correct = random.random(n), random.random(n) < 0.5
    error = 0.0
    for b in range(bins):
        inside = (b / bins <= confidence) & (confidence < (b + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(error)


def test_expected_calibration_error_confidence_of_one_is_in_last_bin() -> None:
    assert expected_calibration_error(np.ones(4), np.array([True, True, True, False])) == pytest.approx(0.25)
    assert expected_calibration_error(np.ones(4), np.ones(4, bool)) == 0


def test_is_chance_compares_with_naming_the_most_frequent_class() -> None:
    labels = np.array([0] * 60 + [1] * 40)
    for right, expected in ((60, True), (69, True), (70, False), (40, True)):  # two standard errors are 9.8 examples
        assert is_chance(np.arange(100) < right, labels) is expected
    assert is_chance(np.arange(100) < 70, labels, standard_errors=3)
