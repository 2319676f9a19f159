"""The comparison on the tiny bundle, whose predictions are known without a graph."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from eetool.bench.benchmark import SCHEMA, Bench, BenchRules, bench_bundle, complete_rules
from eetool.data.source import Source
from eetool.errors import ArtefactError, UsageError
from eetool.records import read_record
from eetool_measure.records import encode
from eetool_runtime import Model, load
from tests.helpers.tiny_bundle import POINTS, answers, image, leaves_at, write_tiny_bundle

ROOT = Path(__file__).parents[2]
QUICK = BenchRules("balanced", 1.0, passes=2, min_seconds=0)


@pytest.fixture
def model(bundle: Path) -> Model:
    return load(bundle)


def compare(model: Model, source: Source, against: tuple[Path, ...] = (), rules: BenchRules = QUICK) -> Bench:
    return bench_bundle(model, source, np.arange(len(source.labels)), "test", against, rules)


def test_bench_bundle_figures_match_predictions(model: Model, source: Source) -> None:
    rows = {p.name: p for p in compare(model, source).points}
    x = np.concatenate([image(i % 4, contrast) for contrast in np.linspace(0.25, 4, 16) for i in range(4)])
    exits = answers(np.round(x * 32) / 32)
    predictions = np.stack([logits.argmax(1) for logits, _ in exits])  # (exits, images)
    for name, threshold in POINTS.items():
        left = leaves_at([confidence for _, confidence in exits], threshold)
        classes = predictions[left, np.arange(len(left))]
        assert rows[name].accuracy == pytest.approx((classes == source.labels).mean())
        assert rows[name].agreement == pytest.approx((classes == predictions[-1]).mean())
        assert rows[name].exit_shares == pytest.approx([(left == k).mean() for k in range(3)])
        assert rows[name].mean_exit_depth == pytest.approx(left.mean())
    assert rows["unsplit"].accuracy == rows["full"].accuracy
    assert (rows["unsplit"].exit_shares, rows["unsplit"].mean_exit_depth) == (None, None)
    assert {p.n for p in rows.values()} == {64}


def test_bench_bundle_costs_include_everything_that_ran(model: Model, source: Source) -> None:
    rows = {p.name: p for p in compare(model, source).points}
    assert rows["full"].compute_saved == rows["unsplit"].compute_saved == 0
    fast = load(model.bundle)
    fast.use("fast")
    for raw in source.inputs:
        fast(fast.preprocess(raw[0]))
    assert rows["fast"].mean_macs == pytest.approx(fast.stats()["mean_macs"])
    assert rows["fast"].compute_saved == pytest.approx(fast.stats()["compute_saved"])


def test_bench_document_matches_schema_and_is_read_back(  # type: ignore[no-untyped-def]
    model: Model, source: Source, write_net, tmp_path: Path
) -> None:
    net = write_net()
    rows = compare(model, source, against=(net, net))
    assert [p.name for p in rows.points][-2:] == ["net.onnx", "net.onnx (2)"]
    assert rows.passes == 2
    assert all(p.energy_mj.value is None for p in rows.points)
    document = {"eetool": "0", "command": "bench", "schema": SCHEMA, "ok": True, **encode(rows)}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/bench-1.schema.json").read_text()))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document))
    assert read_record(Bench, path, SCHEMA) == rows


def test_bench_bundle_verdict_is_on_judged_point(model: Model, source: Source) -> None:
    rows = compare(model, source, rules=BenchRules("fast", 100.0, passes=2, min_seconds=0))
    points = {p.name: p for p in rows.points}
    assert rows.verdict.point == "fast"
    ratio = points["fast"].latency_ms.mean / points["unsplit"].latency_ms.mean
    assert rows.verdict.latency_ratio == pytest.approx(ratio)
    low, high = rows.verdict.latency_ratio_ci95
    assert low <= ratio <= high


def test_bench_bundle_other_classes_raise_artefact_error(model: Model, source: Source) -> None:
    other = Source("other", source.inputs, source.labels, ("a", "b", "c", "d"), mirror=False)
    with pytest.raises(ArtefactError, match="other classes than 'other'"):
        compare(model, other)


@pytest.mark.parametrize(
    ("fields", "asked", "judged"),
    [
        ({}, None, "balanced"),
        ({}, "fast", "fast"),
        ({}, "full", "full"),
        ({"default_operating_point": "full"}, None, "balanced"),
    ],
)
def test_complete_rules_default_point_is_judged(
    tmp_path: Path, fields: dict[str, str], asked: str | None, judged: str
) -> None:
    model = load(write_tiny_bundle(tmp_path, **fields))
    assert complete_rules(model, asked, None, 5, 0, 0).judged == judged


def test_complete_rules_untuned_bundle_judges_full(tmp_path: Path) -> None:
    def untune(document) -> None:  # type: ignore[no-untyped-def]
        points = document["variants"]["onnx/fp32"]["operating_points"]
        document["variants"]["onnx/fp32"]["operating_points"] = {"full": points["full"]}
        document["default_operating_point"], document["max_accuracy_drop"] = "full", None

    rules = complete_rules(load(write_tiny_bundle(tmp_path, edit=untune)), None, None, 5, 0, 0)
    assert (rules.judged, rules.max_accuracy_drop) == ("full", 1.0)


def test_complete_rules_limit_is_of_user_or_bundle(model: Model) -> None:
    assert complete_rules(model, None, None, 5, 0, 0).max_accuracy_drop == 0.5
    assert complete_rules(model, None, 0.0, 5, 0, 0).max_accuracy_drop == 0.0
    with pytest.raises(UsageError, match="unknown operating point 'slow'"):
        complete_rules(model, "slow", None, 5, 0, 0)


def test_golden_bench_document_is_read() -> None:
    path = ROOT / "tests/golden/bench-1.json"
    rows = read_record(Bench, path, SCHEMA)
    jsonschema.validate(
        json.loads(path.read_text()), json.loads((ROOT / "eetool/schemas/bench-1.schema.json").read_text())
    )
    assert [p.name for p in rows.points] == ["unsplit", "full", "balanced", "fast", "resnet8.onnx"]
    assert not rows.verdict.pays
