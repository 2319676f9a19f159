"""Benchmark of foreign networks: the networks that it has, and its figures over hours."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks/latency"


@pytest.fixture(scope="module")
def modules() -> Any:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(FOLDER))


def row(measured_ms: float, predicted_ms: float, checked_ms: float) -> dict[str, Any]:
    def estimate(ms: float) -> dict[str, Any]:
        return {"latency_ms": ms, "interval_ms": [0.9 * ms, 1.1 * ms]}

    speeds = (1.5, 1.0, 0.99)  # a slow minute does not count, and its check finds it
    return {
        "passes_ms": [speed * measured_ms for speed in speeds],
        "as_built": estimate(predicted_ms),
        "checked": [estimate(speed * checked_ms) for speed in speeds],
    }


def test_networks_are_forty_and_run(modules: Any) -> None:
    networks = modules("foreign_networks").NETWORKS
    assert len(networks) == 40
    for name in ("poolformer-slim-128", "ghostnet-slim-128", "bert-tiny-128", "bit-slim-128"):
        network, inputs = networks[name]()
        assert network(*inputs).shape[0] == 1


def test_summaries_join_hours_and_keep_variants_apart(modules: Any) -> None:
    summaries_of = modules("foreign_summary").summaries
    slow = {"a": row(1.3, 1.0, 1.3), "b": row(2.6, 2.0, 2.5), "c": row(3.9, 3.0, 3.9), "d": {"left_out": "reason"}}
    fast = {"a": row(1.0, 1.0, 1.0), "b": row(2.0, 2.0, 2.0), "c": row(3.0, 3.0, 3.0)}
    hours = {
        "morning": {"onnx/fp32": {"networks": fast}},
        "noon": {"onnx/fp32": {"networks": slow}, "onnx/int8": {"networks": {}}},
    }
    summaries = summaries_of(hours)
    assert list(summaries) == ["onnx/fp32"]
    figures = summaries["onnx/fp32"]
    assert [figures[name]["networks"] for name in ("morning", "noon", "all hours")] == [3, 3, 6]
    assert figures["noon"]["as_built"]["within_20_percent"] == 0.0
    assert figures["noon"]["checked"]["within_10_percent"] == 1.0
    assert figures["all hours"]["as_built"]["within_10_percent"] == pytest.approx(0.5)
    assert figures["all hours"]["as_built"]["inside_interval"] == pytest.approx(0.5)
    assert figures["morning"]["checked"]["spearman"] == pytest.approx(1.0)
    assert figures["morning"]["run_to_run"]["median"] == pytest.approx(1.5 / 0.99 - 1)
