"""Counters: what was recorded is what is reported, also to Prometheus, through a parser of its grammar."""

from __future__ import annotations

import json
import math
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eetool_runtime as ee
from eetool_runtime.manifest import Expected, ReachedConfidence
from eetool_runtime.prometheus import prometheus_text
from eetool_runtime.stats import Stats, confidence_drift
from tests.helpers.tiny_bundle import image

EXPECTED = Expected("test", 10, 0.9, (0.5, 0.3, 0.2), 0.7, 100.0, (None, None, None))


def test_before_the_first_call_nothing_is_known() -> None:
    assert Stats(3).snapshot(100, EXPECTED) == {
        "calls": 0,
        "exit_counts": [0, 0, 0],
        "exit_shares": None,
        "exit_shares_expected": [0.5, 0.3, 0.2],
        "mean_exit_depth": None,
        "mean_confidence": [None, None, None],
        "mean_macs": None,
        "compute_saved": None,
        "latency_ms": None,
        "latency_ms_sum": 0.0,
        "ungated": 0,
        "overruns": 0,
        "drift": [None, None, None],
    }


def test_figures_of_a_few_calls() -> None:
    stats = Stats(3)
    for index, confidence, macs, latency_ms in [(0, 0.8, 20, 1.0), (0, 1.0, 20, 2.0), (2, 0.5, 120, 9.0)]:
        stats.record(index, confidence, macs, latency_ms)
    found = stats.snapshot(100, None)
    assert found["calls"] == 3
    assert found["exit_counts"] == [2, 0, 1]
    assert found["exit_shares"] == pytest.approx([2 / 3, 0, 1 / 3])
    assert found["exit_shares_expected"] is None
    assert found["mean_exit_depth"] == pytest.approx(2 / 3)
    assert found["mean_confidence"] == pytest.approx([0.9, None, 0.5])
    assert found["mean_macs"] == pytest.approx(160 / 3)
    assert found["compute_saved"] == pytest.approx(1 - 160 / 300)
    assert found["latency_ms"]["p50"] == 2.0
    assert found["latency_ms"]["mean"] == pytest.approx(4.0)


def test_a_backbone_without_macs_saves_nothing_that_could_be_named() -> None:
    stats = Stats(1)
    stats.record(0, 1.0, 0, 1.0)
    assert stats.snapshot(0, None)["compute_saved"] is None


def test_latency_is_of_recent_calls_only() -> None:
    stats = Stats(1)
    for latency_ms in [1000.0] * 5 + [1.0] * 10_000:
        stats.record(0, 1.0, 1, latency_ms)
    assert stats.snapshot(1, None)["latency_ms"] == {"mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": 1.0}
    assert stats.snapshot(1, None)["calls"] == 10_005


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_shares_sum_to_one_and_depth_lies_between_the_exits(exits: list[int]) -> None:
    stats = Stats(4)
    for index in exits:
        stats.record(index, 0.5, index + 1, 1.0)
    found = stats.snapshot(4, None)
    assert sum(found["exit_shares"]) == pytest.approx(1)
    assert min(exits) <= found["mean_exit_depth"] <= max(exits)
    assert found["mean_exit_depth"] == pytest.approx(sum(exits) / len(exits))
    assert found["compute_saved"] == pytest.approx(1 - (found["mean_exit_depth"] + 1) / 4)


def test_threads_lose_no_counts() -> None:
    stats = Stats(2)

    def work(index: int) -> None:
        for _ in range(2_000):
            stats.record(index % 2, 0.5, 1, 1.0)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert stats.snapshot(1, None)["exit_counts"] == [8_000, 8_000]


REACHED = (ReachedConfidence(5000, 0.8, 0.1), None, ReachedConfidence(400, 0.6, 0.2))


def seen_by(rng: np.random.Generator, mean: float, n: int) -> list[list[tuple[int, float]]]:
    return [[(0, float(value)), (2, 0.6)] for value in rng.normal(mean, 0.1, n)]


def test_drift_is_welchs_test() -> None:
    found = confidence_drift(seen_by(np.random.default_rng(1), 0.76, 200), REACHED)
    assert found[1] is None
    first = found[0]
    assert first is not None
    values = np.random.default_rng(1).normal(0.76, 0.1, 200)
    wanted = (values.mean() - 0.8) / math.sqrt(values.var(ddof=1) / 200 + 0.01 / 5000)
    assert first["z"] == pytest.approx(wanted)
    assert first["p"] == pytest.approx(math.erfc(abs(wanted) / math.sqrt(2)))
    assert (first["n"], first["expected_mean"]) == (200, 0.8)
    assert first["p"] < 1e-5
    assert found[2] is not None
    assert (found[2]["z"], found[2]["p"]) == pytest.approx((0, 1))


def test_without_drift_the_p_value_is_as_likely_to_be_small_as_it_says() -> None:
    rng = np.random.default_rng(0)
    ps = [confidence_drift(seen_by(rng, 0.8, 100), REACHED)[0]["p"] for _ in range(400)]  # type: ignore[index]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.09
    assert 0.4 < np.mean(ps) < 0.6


def test_too_few_or_too_equal_confidences_are_no_evidence() -> None:
    assert confidence_drift([[(0, 0.1 * (n % 2))] for n in range(29)], REACHED)[0] is None
    assert confidence_drift([[(0, 0.1 * (n % 2))] for n in range(30)], REACHED)[0] is not None
    assert confidence_drift([[(0, 0.5)]] * 100, (ReachedConfidence(10, 0.5, 0.0),)) == [None]
    assert confidence_drift([[(0, math.nan)]] * 100, REACHED)[0] is None


def test_a_new_window_keeps_the_counts_and_forgets_the_rest() -> None:
    stats = Stats(1)
    for _ in range(40):
        stats.record(0, 0.5, 1, 2.0, [(0, 0.5)])
    stats.start_window()
    found = stats.snapshot(1, None)
    assert (found["calls"], found["latency_ms"], found["mean_confidence"]) == (40, None, [None])
    assert found["latency_ms_sum"] == 80
    assert stats.recent_ms(10) == []


_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> tuple[Samples, dict[str, str]]:
    """Samples and the type of each family; fails where the text breaks a rule of the format."""
    assert text.endswith("\n")
    samples: Samples = {}
    types: dict[str, str] = {}
    helped: set[str] = set()
    family = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in helped
            helped.add(family)
        elif line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            assert name == family
            assert name not in types
            assert kind in ("counter", "gauge", "summary")
            types[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            suffixes = ("", "_sum", "_count") if types[family] == "summary" else ("",)
            assert match[1] in [family + suffix for suffix in suffixes]
            labels = [(k, re.sub(r"\\.", lambda m: _ESCAPES[m[0]], v)) for k, v in _LABEL.findall(match[2])]
            key = (match[1], frozenset(labels))
            assert key not in samples
            samples[key] = float(match[3])
    assert helped == set(types)
    return samples, types


def value(samples: Samples, name: str, **labels: object) -> float:
    wanted = {(key, str(text)) for key, text in labels.items()}
    (found,) = [v for (n, have), v in samples.items() if n == name and wanted <= have]
    return found


@pytest.fixture
def model(tiny_bundle: Path) -> ee.Model:
    model = ee.load(tiny_bundle)
    for n in range(40):
        model(image(n % 4, (2.0, 1.0)[n % 2]))
    model.use("fast")
    model(image(0, 2.0))
    return model


def test_the_text_says_what_stats_say(model: ee.Model) -> None:
    samples, types = parse(model.prometheus())
    points = model.stats()["operating_points"]
    for point in ("balanced", "fast"):
        for index, count in enumerate(points[point]["exit_counts"]):
            assert value(samples, "eetool_exits_total", operating_point=point, exit=index) == count
        assert value(samples, "eetool_latency_ms_count", operating_point=point) == points[point]["calls"]
        assert value(samples, "eetool_compute_saved_ratio", operating_point=point) == points[point]["compute_saved"]
    p99 = value(samples, "eetool_latency_ms", operating_point="fast", quantile=0.99)
    assert p99 == points["fast"]["latency_ms"]["p99"]
    assert value(samples, "eetool_info", operating_point="fast", pool="private", threads=1) == 1
    assert types["eetool_latency_ms"] == "summary"
    assert types["eetool_exits_total"] == "counter"


def test_a_model_without_calls_has_something_to_say_too(tiny_bundle: Path) -> None:
    samples, types = parse(ee.load(tiny_bundle).prometheus())
    assert value(samples, "eetool_exits_total", exit=0) == 0
    assert "eetool_compute_saved_ratio" not in types


def test_labels_are_escaped(model: ee.Model) -> None:
    odd = 'a "quoted" \\ back\nline'
    samples, _ = parse(prometheus_text({**model.stats(), "model": odd}))
    assert all(dict(labels)["model"] == odd for _, labels in samples)


def test_points_are_kept_apart_and_custom_thresholds_begin_anew(model: ee.Model) -> None:
    found = model.stats()
    assert (found["operating_point"], found["calls"]) == ("fast", 1)
    assert found["operating_points"]["balanced"]["calls"] == 40
    model.use("balanced")
    model(image(0, 2.0))
    back = model.stats()
    assert (back["calls"], back["latency_ms_sum"] > 0) == (41, True)
    assert len(model.recent_ms()) == 1
    for threshold in (0.5, 0.5, 0.7):
        model.use(threshold=threshold)
        model(image(0, 2.0))
    assert model.stats()["calls"] == 1
    assert set(model.stats()["operating_points"]) == {"balanced", "fast", "custom"}


def test_drift_stands_in_stats_which_are_json(model: ee.Model) -> None:
    model.use("balanced")
    for n in range(40):
        model(image(n % 4, 2.0))
    found = json.loads(json.dumps(model.stats(), allow_nan=False))
    assert found["drift"][0]["n"] == 40
    assert found["drift"][0]["mean"] > found["drift"][0]["expected_mean"]
    assert 0 <= found["drift"][0]["p"] < 1
    samples, _ = parse(model.prometheus())
    assert value(samples, "eetool_confidence_drift_z", exit=0, operating_point="balanced") == found["drift"][0]["z"]
