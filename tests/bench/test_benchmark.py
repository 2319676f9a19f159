"""The comparison on the tiny bundle, whose predictions are known without a graph."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from eetool.bench.benchmark import SCHEMA, Bench, BenchRules, accuracy_limit, bench_bundle, stability_problem
from eetool.bench.interleaved_timing import TimingRules
from eetool.data.source import Source
from eetool.errors import ArtefactError, EarlyExitError, UnstableError, UsageError
from eetool.records import read_record
from eetool_measure.machine_state import read_machine_state
from eetool_measure.records import encode
from eetool_runtime import load
from eetool_runtime.bundle import Bundle, open_bundle
from tests.helpers.tiny_bundle import POINTS, answers, image, leaves_at, write_tiny_bundle

ROOT = Path(__file__).parents[2]
QUICK = BenchRules(1.0, timing=TimingRules(2, 0))


@pytest.fixture
def model(bundle: Path) -> Bundle:
    return open_bundle(bundle)


def compare(bundle: Bundle, source: Source, against: tuple[Path, ...] = (), rules: BenchRules = QUICK) -> Bench:
    return bench_bundle(bundle, source, np.arange(len(source.labels)), "test", against, rules)


def test_bench_bundle_figures_match_predictions(model: Bundle, source: Source) -> None:
    bench = compare(model, source)
    rows = {p.name: p for p in bench.ways}
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
        assert rows[name].accuracy_difference == pytest.approx(100 * (rows[name].accuracy - rows["unsplit"].accuracy))
        low, high = rows[name].latency_ratio_ci95
        assert low <= rows[name].latency_ratio <= high
    assert rows["unsplit"].accuracy == rows["full"].accuracy
    assert (rows["unsplit"].exit_shares, rows["unsplit"].mean_exit_depth) == (None, None)
    assert {p.n for p in rows.values()} == {64}
    assert (bench.reference, bench.variants, bench.timed) == ("unsplit", ("onnx/fp32",), 64)


def test_bench_bundle_costs_include_everything_that_ran(model: Bundle, source: Source) -> None:
    rows = {p.name: p for p in compare(model, source).ways}
    assert rows["full"].compute_saved == rows["unsplit"].compute_saved == 0
    fast = load(model)
    fast.use("fast")
    for raw in source.inputs:
        fast(fast.preprocess(raw[0]))
    assert rows["fast"].mean_macs == pytest.approx(fast.stats()["mean_macs"])
    assert rows["fast"].compute_saved == pytest.approx(fast.stats()["compute_saved"])


def test_bench_document_matches_schema_and_is_read_back(  # type: ignore[no-untyped-def]
    model: Bundle, source: Source, write_net, tmp_path: Path
) -> None:
    net = write_net()
    rows = compare(model, source, against=(net, net, model.path))
    assert [p.name for p in rows.ways][-3:] == ["net.onnx", "net.onnx (2)", "tiny.eebundle"]
    assert [p.kind for p in rows.ways] == ["unsplit", *["early_exit"] * 3, *["against"] * 3]
    assert rows.passes == 2
    assert all(p.energy_mj.value is None for p in rows.ways)
    document = {"eetool": "0", "command": "bench", "schema": SCHEMA, "ok": True, **encode(rows)}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/bench-2.schema.json").read_text()))
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document))
    assert read_record(Bench, path, SCHEMA) == rows


@pytest.mark.parametrize("memory_bytes", [None, 0])
def test_bench_bundle_runs_every_variant(  # type: ignore[no-untyped-def]
    write_twins, source: Source, memory_bytes: int | None
) -> None:
    """With too little memory for all graphs, the variants take turns, and the figures are the same."""
    twins = open_bundle(write_twins("onnx/int8"))
    bench = compare(twins, source, (twins.path,), replace(QUICK, memory_bytes=memory_bytes))
    names = [f"{variant} {name}" for variant in ("onnx/fp32", "onnx/int8") for name in ("unsplit", *POINTS)]
    rivals = [f"twins.eebundle {variant}" for variant in ("onnx/fp32", "onnx/int8")]
    assert [way.name for way in bench.ways] == [*names, *rivals]
    assert (bench.reference, bench.in_memory_together) == ("onnx/fp32 unsplit", memory_bytes is None)
    assert bench.not_run == ()
    assert bench.engines.keys() == {"onnxruntime"}
    accuracies = [way.accuracy for way in bench.ways]
    assert accuracies[:4] == accuracies[4:8]
    assert bench.verdict.way.startswith(bench.judged_variant)
    only = compare(twins, source, rules=replace(QUICK, variants=("onnx/int8",)))
    assert [way.name for way in only.ways] == ["unsplit", *POINTS]
    assert only.ways[0].variant == "onnx/int8"


def test_bench_bundle_reference_is_the_network_that_all_are_compared_with(  # type: ignore[no-untyped-def]
    write_twins, write_net, source: Source
) -> None:
    twins = open_bundle(write_twins("onnx/int8"))
    by_bundle = compare(twins, source, (write_net(),), replace(QUICK, reference=twins.path))
    assert by_bundle.reference == "twins.eebundle onnx/fp32"
    net = write_net()
    by_file = compare(twins, source, (net,), replace(QUICK, reference=net))
    assert (by_file.reference, [way.name for way in by_file.ways].count("net.onnx")) == ("net.onnx", 1)
    rows = {way.name: way for way in by_file.ways}
    assert rows["net.onnx"].latency_ratio == 1
    for row in rows.values():
        assert row.accuracy_difference == pytest.approx(100 * (row.accuracy - rows["net.onnx"].accuracy))
    assert rows["onnx/fp32 unsplit"].latency_ratio_ci95 != rows["net.onnx"].latency_ratio_ci95


def test_bench_bundle_unsplit_network_that_stayed_float_is_not_run_twice(write_twins, source: Source) -> None:  # type: ignore[no-untyped-def]
    float_path = "reference/unsplit/onnx-fp32/model.onnx"
    twins = open_bundle(write_twins("onnx/int8", edit=lambda twin: twin["references"].update(unsplit=float_path)))
    bench = compare(twins, source, (twins.path,))
    reason = "its graph stayed fp32 at export, so it is that of onnx/fp32"
    not_run = [("onnx/int8 unsplit", reason), ("twins.eebundle onnx/int8", reason)]
    assert [(way.name, way.reason) for way in bench.not_run] == not_run
    assert [way.name for way in bench.ways if way.variant == "onnx/int8"] == [f"onnx/int8 {name}" for name in POINTS]
    only = compare(twins, source, rules=replace(QUICK, variants=("onnx/int8",)))
    assert [way.name for way in only.ways] == ["unsplit", *POINTS]


def test_bench_bundle_variant_that_cannot_run_is_listed_with_its_reason(  # type: ignore[no-untyped-def]
    write_twins, source: Source
) -> None:
    def of_four(variant: dict[str, Any]) -> None:
        variant["batch"] = 4

    twins = open_bundle(write_twins("onnx/int8", edit=of_four))
    bench = compare(twins, source)
    assert [way.name for way in bench.ways] == [f"onnx/fp32 {name}" for name in ("unsplit", *POINTS)]
    assert [way.name for way in bench.not_run] == [f"onnx/int8 {name}" for name in ("unsplit", *POINTS)]
    assert {way.reason for way in bench.not_run} == {"the variant onnx/int8 has the batch size 4, not 1"}
    with pytest.raises(EarlyExitError, match="the batch size 4"):
        compare(twins, source, rules=replace(QUICK, variants=("onnx/int8",)))


@pytest.mark.parametrize(
    ("installed", "reason"),
    [(False, "the tflite backend needs ai-edge-litert or tflite-runtime"), (True, "cannot be read as a TFLite file")],
)
def test_bench_bundle_engine_that_does_not_load_a_variant_is_said(  # type: ignore[no-untyped-def]
    write_twins, source: Source, monkeypatch: pytest.MonkeyPatch, installed: bool, reason: str
) -> None:
    if installed:
        pytest.importorskip("ai_edge_litert", reason="the extra tflite is not installed")
    else:
        monkeypatch.setitem(sys.modules, "eetool_runtime.backends.litert", None)
    bench = compare(open_bundle(write_twins("tflite/fp32")), source)
    assert [way.name for way in bench.not_run] == [f"tflite/fp32 {name}" for name in ("unsplit", *POINTS)]
    assert reason in bench.not_run[0].reason
    assert installed or "pip install eetool-runtime[tflite]" in bench.not_run[0].reason
    assert bench.variants == ("onnx/fp32",)


def test_bench_bundle_verdict_is_on_named_point(model: Bundle, source: Source) -> None:
    bench = compare(model, source, rules=replace(QUICK, operating_point="fast", max_accuracy_drop=100.0))
    ways = {p.name: p for p in bench.ways}
    assert (bench.verdict.way, bench.verdict.against) == ("fast", "unsplit")
    ratio = ways["fast"].latency_ms.mean / ways["unsplit"].latency_ms.mean
    assert bench.verdict.latency_ratio == pytest.approx(ratio)
    low, high = bench.verdict.latency_ratio_ci95
    assert low <= ratio <= high


def test_bench_bundle_untuned_bundle_judges_full(tmp_path: Path, source: Source) -> None:
    def untune(document) -> None:  # type: ignore[no-untyped-def]
        points = document["variants"]["onnx/fp32"]["operating_points"]
        document["variants"]["onnx/fp32"]["operating_points"] = {"full": points["full"]}
        document["default_operating_point"], document["max_accuracy_drop"] = "full", None

    untuned = open_bundle(write_tiny_bundle(tmp_path, edit=untune))
    assert compare(untuned, source).verdict.way == "full"
    assert accuracy_limit(untuned, None) == 1.0


def test_accuracy_limit_is_of_user_or_bundle(model: Bundle) -> None:
    assert accuracy_limit(model, None) == 0.5
    assert accuracy_limit(model, 0.0) == 0.0


def test_bench_rules_unknown_names_raise_usage_error(model: Bundle) -> None:
    assert replace(QUICK, variants=("auto", "onnx/fp32")).check(model) == ["onnx/fp32"]
    with pytest.raises(UsageError, match="unknown operating point 'slow'"):
        replace(QUICK, operating_point="slow").check(model)
    with pytest.raises(UsageError, match="has no variant"):
        replace(QUICK, variants=("tflite/int8",)).check(model)


def test_bench_bundle_other_classes_raise_artefact_error(model: Bundle, source: Source) -> None:
    other = Source("other", source.inputs, source.labels, ("a", "b", "c", "d"), mirror=False)
    with pytest.raises(ArtefactError, match="other classes than 'other'"):
        compare(model, other)


def test_bench_bundle_unsteady_times_are_refused(
    model: Bundle, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that the system reports as throttled, which is read from the machine."""
    throttled = replace(read_machine_state(), throttled=True)
    monkeypatch.setattr("eetool.bench.benchmark.read_machine_state", lambda: throttled)
    noisy = compare(model, source)
    problem = stability_problem(noisy, QUICK)
    assert isinstance(problem, UnstableError)
    assert (problem.exit_code, noisy.verdict.pays) == (7, None)
    assert "slowed down by heat" in problem.message
    assert noisy.verdict.text.startswith("Cannot tell whether early exit pays: the measurement is unstable: the board")
    accepted = replace(QUICK, accept_unstable=True)
    kept = compare(model, source, rules=accepted)
    assert kept.unstable
    assert stability_problem(kept, accepted) is None
    assert "unstable" not in kept.verdict.text


def test_bench_bundle_network_at_chance_decides_nothing(model: Bundle, source: Source) -> None:
    shuffled = np.random.default_rng(0).permutation(source.labels)
    bench = compare(model, replace(source, labels=shuffled))
    reference = next(way for way in bench.ways if way.name == bench.reference)
    assert bench.verdict.pays is None
    assert f"unsplit is right for {reference.accuracy:.1%} of the examples" in bench.verdict.text
    assert bench.verdict.remedies[0].startswith("examples with the classes, their order and the pixels")


def test_golden_bench_document_is_read() -> None:
    path = ROOT / "tests/golden/bench-2.json"
    bench = read_record(Bench, path, SCHEMA)
    jsonschema.validate(
        json.loads(path.read_text()), json.loads((ROOT / "eetool/schemas/bench-2.schema.json").read_text())
    )
    assert bench.reference == "onnx/fp32 unsplit"
    assert bench.verdict.way.startswith(f"{bench.judged_variant} ")
    assert len({way.name for way in bench.ways}) == len(bench.ways) == 9
