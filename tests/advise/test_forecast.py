"""Verdict on forecasts: firm only where the intervals allow no other answer."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.advise.document import PointForecast, RivalForecast
from eetool.advise.forecast import JudgedPoint, JudgedRival, decide, extrapolate

RIGHT = np.arange(1000) % 10 > 0  # 90 %
GOOD = PointForecast("balanced", 0.5, 0.9, -0.2, (-0.6, 0.2), 6.0, 0.6, (0.5, 0.7), (0.6, 0.4), 0.6)


def verdict(*points: PointForecast, rivals: tuple[JudgedRival, ...] = (), unknown: tuple[str, ...] = ()) -> bool | None:
    result = decide([JudgedPoint(p, RIGHT) for p in points], rivals, 1.0, unknown)
    words = {True: "can pay", False: "does not pay", None: "Cannot tell"}[result.pays]
    assert words in result.text
    return result.pays


def rival(accuracy: float, cost: float | None) -> JudgedRival:
    right = np.arange(1000) < 1000 * accuracy
    return JudgedRival(RivalForecast("small.onnx", accuracy, cost, None, None), right)


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


def test_extrapolate_gains_of_doublings_fall_to_a_limit() -> None:
    point, half = JudgedPoint(GOOD, RIGHT), JudgedPoint(replace(GOOD, ratio=0.7), RIGHT)

    def ratio(doublings: float, of_half: JudgedPoint = half, least: float = 0.1) -> float:
        return extrapolate(point, of_half, doublings, least).forecast.ratio_all_examples

    assert ratio(0) == pytest.approx(0.6)
    assert ratio(1) == pytest.approx(0.6 - 0.1 * 2**-0.5)
    assert ratio(2) == pytest.approx(0.6 - 0.1 * 2**-0.5 - 0.05)
    assert ratio(4, least=0.55) == 0.55
    assert ratio(3, of_half=JudgedPoint(replace(GOOD, ratio=0.5), RIGHT)) == 0.6


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
