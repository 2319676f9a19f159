"""Intervals of whole networks, and their calibration on networks that a table does not know."""

import numpy as np
import pytest

from eetool.latency.table.intervals import calibrated_error, deviation_of_sum, latency_interval


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_calibrated_error_holds_nine_of_ten(spread: float) -> None:
    rng = np.random.default_rng(0)
    ratios, deviations = np.exp(rng.normal(0, spread, 2000)), rng.uniform(0.01, 0.05, 2000)
    error = calibrated_error(ratios, deviations)
    held = []
    for ratio, deviation in zip(ratios, deviations, strict=True):
        low, high = latency_interval(ratio, ratio * float(np.hypot(deviation, error)))
        held.append(low <= 1 <= high)
    assert 0.88 <= np.mean(held) <= 0.95


def test_calibrated_error_is_0_where_kernels_explain_all() -> None:
    assert calibrated_error(np.full(20, 1.01), np.full(20, 0.1)) == 0.0


def test_deviation_of_sum_common_error_does_not_cancel() -> None:
    assert deviation_of_sum([0.1] * 4, 0.0) < deviation_of_sum([0.1] * 4, 0.2)
    assert deviation_of_sum([], 0.5) == pytest.approx(0.5)
