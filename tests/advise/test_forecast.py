"""Forecasts are the figures that `tune` expects; the verdict is firm only where the intervals allow no other answer."""

from dataclasses import replace

import pytest

from eetool.advise.document import SIZES, PointForecast, RivalForecast, SizeForecast
from eetool.advise.forecast import accuracy_interval, decide, extrapolated_ratio, forecast_points
from eetool.tune.operating_points import drop_limits, fit_operating_points, mean_costs
from tests.helpers.trial_logits import trial_logits

GOOD = PointForecast("balanced", 0.5, 0.9, -0.2, (-0.6, 0.2), 6.0, 0.6, (0.5, 0.7), (0.6, 0.4), 0.6)


def verdict(
    *points: PointForecast, rivals: tuple[RivalForecast, ...] = (), unknown: tuple[str, ...] = ()
) -> bool | None:
    result = decide(points, rivals, 1.0, 1000, unknown)
    words = {True: "can pay", False: "does not pay", None: "Cannot tell"}[result.pays]
    assert words in result.text
    return result.pays


def rival(accuracy: float, cost: float | None) -> RivalForecast:
    return RivalForecast("small.onnx", accuracy, cost, None, None)


def test_forecast_points_are_the_figures_that_tune_expects() -> None:
    """With the same logits and costs, `tune` and the forecast have one estimate, also of few examples."""
    costs, held = trial_logits(150)
    exits = held.exits
    cascade, drops = costs.cascade(exits), drop_limits(4.0)
    tuned = fit_operating_points(held.select(exits), cascade, cascade, 4.0)
    forecasts = forecast_points(held, exits, costs, drops)
    assert [f.name for f in forecasts] == list(drops)
    for f in forecasts:
        expected, drop = tuned.operating_points[f.name].expected, tuned.expected_drops[f.name]
        assert expected is not None
        assert (f.accuracy, f.exit_shares, f.accuracy_difference) == (
            expected.accuracy,
            expected.exit_shares,
            -drop.points,
        )
        assert f.accuracy_difference_ci95 == (-drop.ci95[1], -drop.ci95[0])
        assert f.cost == pytest.approx(mean_costs(tuned, cascade)[f.name])
        assert f.ratio_ci95[0] < f.ratio == pytest.approx(f.cost / costs.unsplit.value)
        assert f.ratio < 1
        assert f.accuracy_ci95[0] < f.accuracy < f.accuracy_ci95[1]
    assert tuned.expected_drops["fast"].optimism > 0, "without optimism this test shows nothing"


def test_accuracy_interval_is_that_of_wilson() -> None:
    assert accuracy_interval(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert accuracy_interval(1.0, 20)[0] < 0.9


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"ratio_ci95": (0.9, 1.1)}, None),
        ({"ratio_ci95": (1.0, 1.2), "ratio_all_examples": 1.05}, False),
        ({"ratio_ci95": (1.0, 1.2), "ratio_all_examples": 0.9}, None),
        ({"accuracy_difference_ci95": (-1.4, 0.4)}, None),
        ({"accuracy_difference_ci95": (-3.0, -1.2)}, False),
    ],
    ids=str,
)
def test_decide_one_point_by_its_intervals(changes: dict[str, object], expected: bool | None) -> None:
    assert verdict(replace(GOOD, **changes)) is expected


def test_extrapolated_ratio_gains_of_doublings_fall_to_a_limit() -> None:
    assert extrapolated_ratio(0.6, 0.7, 0, least=0.1) == pytest.approx(0.6)
    assert extrapolated_ratio(0.6, 0.7, 1, least=0.1) == pytest.approx(0.6 - 0.1 * 2**-0.5)
    assert extrapolated_ratio(0.6, 0.7, 2, least=0.1) == pytest.approx(0.6 - 0.1 * 2**-0.5 - 0.05)
    assert extrapolated_ratio(0.6, 0.7, 4, least=0.55) == 0.55
    assert extrapolated_ratio(0.6, 0.5, 3, least=0.1) == 0.6


def test_decide_one_good_point_is_enough_and_one_undecided_leaves_it_open() -> None:
    slow, unclear = replace(GOOD, ratio_ci95=(1.0, 1.2), ratio_all_examples=1.1), replace(GOOD, ratio_ci95=(0.9, 1.1))
    assert (verdict(slow, GOOD), verdict(slow, unclear), verdict(slow, slow)) == (True, None, False)


def test_decide_rival_that_is_as_accurate_and_as_cheap_stands_against_it() -> None:
    assert verdict(GOOD, rivals=(rival(0.95, 5.0),)) is False
    assert verdict(GOOD, rivals=(rival(0.95, 9.0), rival(0.85, 1.0))) is True
    assert verdict(GOOD, rivals=(rival(0.95, None),)) is None


def test_decide_unknown_kernels_allow_no_firm_verdict() -> None:
    assert verdict(GOOD, unknown=("the table has no figures",)) is None
    assert verdict(replace(GOOD, ratio_ci95=(1.0, 1.2)), unknown=("the table has no figures",)) is None


@pytest.mark.parametrize(
    ("cost", "interval", "expected"), [(5.0, (-0.9, 0.3), False), (5.0, (-1.5, 0.3), None), (7.0, (-0.9, 0.3), True)]
)
def test_decide_smaller_size_that_keeps_the_drop_and_is_as_cheap_stands_against_it(
    cost: float, interval: tuple[float, float], expected: bool | None
) -> None:
    alone = SizeForecast(160, "own", 0.89, -0.3, interval, cost, cost / 10, (cost / 10, cost / 10))
    result = decide([GOOD], (), 1.0, 1000, (), [alone, SizeForecast(96, reason="too small")], SIZES, ", as two sizes")
    assert (result.pays, result.form) == (expected, SIZES)
    assert ("160 px" in result.text) is (expected is not True)
    assert ", as two sizes" in result.text
