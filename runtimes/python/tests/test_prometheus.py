"""Statistics in the text format of Prometheus, read by a parser of its grammar."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import eetool_runtime as ee
from eetool_runtime.prometheus import prometheus_text
from tests.helpers.tiny_bundle import image

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\} (\S+)')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> tuple[Samples, dict[str, str]]:
    """Return the samples and the type of each family; fail where the text violates the format."""
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
    (actual,) = [v for (n, have), v in samples.items() if n == name and wanted <= have]
    return actual


@pytest.fixture
def model(tiny_bundle: Path) -> ee.Model:
    model = ee.load(tiny_bundle)
    for n in range(40):
        model(image(n % 4, (2.0, 1.0)[n % 2]))
    model.use("fast")
    model(image(0, 2.0))
    return model


def test_prometheus_text_equals_stats(model: ee.Model) -> None:
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


def test_prometheus_text_without_calls_is_valid(tiny_bundle: Path) -> None:
    samples, types = parse(ee.load(tiny_bundle).prometheus())
    assert value(samples, "eetool_exits_total", exit=0) == 0
    assert "eetool_compute_saved_ratio" not in types


def test_prometheus_text_labels_are_escaped(model: ee.Model) -> None:
    odd = 'a "quoted" \\ back\nline'
    samples, _ = parse(prometheus_text({**model.stats(), "model": odd}))
    assert all(dict(labels)["model"] == odd for _, labels in samples)


def test_stats_with_drift_are_json(model: ee.Model) -> None:
    model.use("balanced")
    for n in range(40):
        model(image(n % 4, 2.0))
    actual = json.loads(json.dumps(model.stats(), allow_nan=False))
    assert actual["drift"][0]["n"] == 40
    assert actual["drift"][0]["mean"] > actual["drift"][0]["expected_mean"]
    assert 0 <= actual["drift"][0]["p"] < 1
    samples, _ = parse(model.prometheus())
    assert value(samples, "eetool_confidence_drift_z", exit=0, operating_point="balanced") == actual["drift"][0]["z"]
