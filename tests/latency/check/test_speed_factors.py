"""Speed factors of classes of kernels from mixed probes."""

import numpy as np
import pytest

from eetool.latency.check.speed_factors import fit_speed_factors

RNG = np.random.default_rng(0)
# Seven probes per class, each with 70 to 90 % of its time in it.
SHARES = np.concatenate([np.roll([[0.8, 0.12, 0.08]] * 7, shift, axis=1) for shift in range(3)])
SHARES = SHARES + np.array([[0.1, -0.05, -0.05]]) * RNG.uniform(-1, 1, (21, 1))


@pytest.mark.parametrize("true", [(1.0, 1.0, 1.0), (1.3, 1.3, 1.3), (1.0, 1.4, 1.1), (0.8, 0.9, 1.2)])
def test_fit_speed_factors_of_mixed_probes_finds_each_class(true: tuple[float, ...]) -> None:
    ratios = SHARES @ np.array(true) * RNG.normal(1, 0.01, 21)
    factors, deviations, half = fit_speed_factors(SHARES, ratios)
    assert np.all(np.abs(factors - true) < 0.04)
    assert np.all(np.abs(factors - true) <= 1.5 * half)
    assert np.all(deviations < half)


def test_fit_speed_factors_disturbed_probes_have_little_weight() -> None:
    ratios = np.ones(21)
    ratios[[2, 9, 16]] = 2.0
    factors, _, _ = fit_speed_factors(SHARES, ratios)
    assert np.all(np.abs(factors - 1) < 0.03)


def test_fit_speed_factors_scatter_widens_intervals() -> None:
    calm, loud = (fit_speed_factors(SHARES, RNG.normal(1, noise, 21))[2] for noise in (0.01, 0.1))
    assert np.all(loud > 3 * calm)


def test_fit_speed_factors_of_one_probe_is_uncertain() -> None:
    factors, _, half = fit_speed_factors(SHARES[:1], np.array([1.5]))
    assert factors[0] == pytest.approx(1.5, abs=0.05)
    assert np.all(half > 0.5)
