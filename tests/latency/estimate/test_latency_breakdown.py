"""Ratios of latencies from one table: errors in common cancel."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.latency.estimate.cascade_cost import CascadeLayout
from eetool.latency.estimate.latency_breakdown import (
    graph_breakdown,
    point_breakdown,
    ratio_interval,
    unexplained_deviation,
)
from eetool.latency.estimate.prediction_target import PredictionTarget
from tests.helpers.latency_tables import COMPOSITION, conv, predictor

PREDICTOR = predictor()
ERROR = dataclasses.replace(COMPOSITION, ratio_error=0.05)
half = 1.959964


def width(interval: tuple[float, float, float]) -> float:
    ratio, low, high = interval
    assert low < ratio < high
    return math.log(high / low) / 2


def test_ratio_interval_same_kernels_has_the_cross_validated_error_alone() -> None:
    one = graph_breakdown([conv(16, 32), conv(300, 40)], PREDICTOR)
    assert ratio_interval(one, one, ERROR)[0] == 1
    assert width(ratio_interval(one, one, ERROR)) == pytest.approx(half * 0.05, rel=1e-6)


def test_ratio_interval_is_narrower_than_the_quotient_of_intervals() -> None:
    shared = [conv(300, 300), conv(200, 200)]
    small, large = (PREDICTOR.graph("g", kernels) for kernels in (shared, [*shared, conv(250, 250)]))
    quotient = math.log(large.interval_ms[1] / small.interval_ms[0] * small.interval_ms[1] / large.interval_ms[0]) / 2
    breakdowns = [graph_breakdown(k, PREDICTOR) for k in (shared, [*shared, conv(250, 250)])]
    found = ratio_interval(breakdowns[0], breakdowns[1], ERROR)
    assert found[0] == pytest.approx(small.latency_ms / large.latency_ms)
    assert width(found) < quotient


@given(st.sampled_from([8, 24, 100, 300]), st.sampled_from([8, 24, 100, 300]))
def test_ratio_interval_of_inverse_is_inverse(first: int, second: int) -> None:
    a, b = graph_breakdown([conv(first, 32)], PREDICTOR), graph_breakdown([conv(second, 64)], PREDICTOR)
    forward, backward = ratio_interval(a, b, ERROR), ratio_interval(b, a, ERROR)
    assert forward[0] * backward[0] == pytest.approx(1)
    assert forward[1] * backward[2] == pytest.approx(1)


def test_unexplained_deviation_without_pairs_is_that_of_two_networks_or_of_a_guess() -> None:
    assert unexplained_deviation(ERROR) == 0.05
    assert unexplained_deviation(COMPOSITION) == pytest.approx(math.sqrt(2) * 1.4826 * COMPOSITION.cv_error)
    assert unexplained_deviation(dataclasses.replace(COMPOSITION, n=0)) == 1.0
    assert unexplained_deviation(dataclasses.replace(COMPOSITION, cv_error=0.0)) == 1.0


def test_point_breakdown_adds_up_to_the_mean_and_widens_with_few_inputs() -> None:
    kernels = {"seg0": [conv(16, 16)], "exit0": [conv(8, 8)], "seg1": [conv(64, 64)]}
    layout = CascadeLayout((("seg0",), ("seg1",)), ("exit0",))
    target = PredictionTarget("m", "onnx/fp32", kernels, dict.fromkeys(kernels, "segment"), layout)
    price = PREDICTOR.cascade(layout, {name: PREDICTOR.graph(name, part) for name, part in kernels.items()})
    many, few = (point_breakdown(target, price, PREDICTOR, (0.9,), (0.75, 0.25), n) for n in (0, 20))
    leaving_ms = price.costs["latency_ms"].leaving((0.9,))
    assert many.total_ms == pytest.approx(0.75 * leaving_ms[0] + 0.25 * leaving_ms[1])
    assert many.kernels[conv(64, 64).key].ms == pytest.approx(0.25 * PREDICTOR.kernel_costs.latency(conv(64, 64)).value)
    assert few.other_deviation_ms > many.other_deviation_ms == 0
