"""Costs of kernels that no table holds."""

from dataclasses import replace

import pytest

from tests.helpers.latency_tables import conv, kernel_costs


def test_kernel_costs_images_of_a_batch_cost_as_many_single_ones() -> None:
    one = conv(8, 16)
    eight = replace(one, shape={**one.shape, "batch": 8})
    costs = kernel_costs()
    assert costs.latency(eight).value == pytest.approx(8 * costs.latency(one).value)
    assert costs.latency(eight).deviation >= 0.3
    assert (eight.macs, costs.latency(eight).measured) == (8 * one.macs, False)
