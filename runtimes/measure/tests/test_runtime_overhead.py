"""Cascades of graphs that take no time."""

from __future__ import annotations

import numpy as np

from eetool_measure.runtime_overhead import instant_model, measure_overhead


def test_instant_model_runs_every_component() -> None:
    model = instant_model(3)
    result = model(np.zeros((1, 3, 32, 32), np.float32))
    assert (result.exit, result.confidence) == (3, 0.0)
    assert len(model.bundle.manifest.components) == 8


def test_measure_overhead_is_not_negative() -> None:
    cost = measure_overhead(runs=10)
    assert cost.call_ms >= 0
    assert cost.component_ms >= 0
