"""Intervals of a latency ratio and of an accuracy difference."""

import numpy as np
import pytest

from eetool.bench.intervals import difference_interval, input_half_width, pass_half_width, ratio_interval


def test_input_half_width_proportional_latencies_has_no_width() -> None:
    other_ms = np.random.default_rng(0).lognormal(size=100)
    assert input_half_width(0.5 * other_ms, other_ms) == pytest.approx(0.0, abs=1e-12)
    assert input_half_width(np.array([0.5]), np.array([2.0])) == 0.0


def test_input_half_width_agrees_with_resampling() -> None:
    """The interval of a cascade differs from that of a paired bootstrap by less than 5 % of its width."""
    rng = np.random.default_rng(0)
    point_ms, other_ms = np.where(rng.random(300) < 0.7, 0.3, 1.2), rng.normal(1, 0.05, 300)
    counts = rng.multinomial(300, np.full(300, 1 / 300), size=20_000)
    expected = np.percentile((counts @ point_ms) / (counts @ other_ms), (2.5, 97.5))
    ratio = point_ms.mean() / other_ms.mean()
    interval = ratio_interval(ratio, input_half_width(point_ms, other_ms))
    assert np.abs(np.array(interval) - expected).max() < 0.05 * np.ptp(expected)


def test_ratio_interval_covers_known_ratio() -> None:
    """Inputs leave early (0.3 ms) with probability 0.7, else late (1.2 ms): the true mean is 0.57 of 1 ms."""
    draw = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        point_ms, other_ms = np.where(draw.random(200) < 0.7, 0.3, 1.2), draw.normal(1, 0.02, 200)
        low, high = ratio_interval(point_ms.mean() / other_ms.mean(), input_half_width(point_ms, other_ms))
        covered.append(low <= 0.57 <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


@pytest.mark.parametrize(
    ("n", "gained", "lost", "expected"),
    # Bonett and Price's formula by hand: p = (1 + count) / (n + 2), z = 1.959964.
    [(100, 0, 0, (-2.717, 2.717)), (100, 2, 6, (-9.950, 2.107)), (1000, 10, 30, (-3.258, -0.734))],
)
def test_difference_interval_counts_give_the_published_formula(
    n: int, gained: int, lost: int, expected: tuple[float, float]
) -> None:
    index = np.arange(n)
    point, other = index >= lost, (index < lost) | (index >= lost + gained)
    assert difference_interval(point, other) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("n", "gain", "loss"), [(90, 0.01, 0.01), (500, 0.01, 0.02), (500, 0.0, 0.004)])
def test_difference_interval_covers_known_difference(n: int, gain: float, loss: float) -> None:
    draw = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        kind = draw.choice(3, size=n, p=[gain, loss, 1 - gain - loss])
        low, high = difference_interval(kind != 1, kind != 0)
        covered.append(low <= 100 * (gain - loss) <= high)
    assert 0.93 <= np.mean(covered) <= 1.0


def test_pass_half_width_known_spread_is_the_t_interval() -> None:
    """Logarithms −0.1, 0 and 0.1: deviation 0.1, and 4.303 is the t quantile of 2 degrees of freedom."""
    ratios = np.exp([-0.1, 0.0, 0.1])
    assert pass_half_width(ratios, np.ones(3)) == pytest.approx(4.303 * 0.1 / np.sqrt(3), abs=1e-3)
    assert pass_half_width(np.array([0.4]), np.ones(1)) == 0.0


def test_ratio_interval_stays_positive_and_finite() -> None:
    half = pass_half_width(np.array([1e-9, 1e9]), np.ones(2))
    low, high = ratio_interval(0.5, 0.1, half)
    assert 0 < low < 0.4 < 0.6 < high < 1e7
    assert ratio_interval(0.5, 0.03, 0.04) == pytest.approx((0.5 * np.exp(-0.05), 0.5 * np.exp(0.05)))


def test_pass_half_width_common_noise_cancels() -> None:
    slow = np.array([1.0, 1.7, 1.1, 2.5])
    assert pass_half_width(0.5 * slow, slow) == pytest.approx(0.0, abs=1e-12)
