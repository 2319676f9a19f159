"""Predictions: exact entries, interpolation, unknown operators, and costs that add up."""

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.bench.device_comparison import Estimate
from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.prediction_target import open_target, predictable_variants, target_of_variant
from eetool.latency.estimate.predictor import predict
from eetool.latency.kernels.kernel import Kernel
from eetool.latency.table.interpolation import CostInterpolator
from eetool.latency.table.kernel_costs import ENTRY, GUESSED, INTERPOLATED, REGRESSION, KernelCosts
from eetool.latency.table.table import KernelEnergy, LatencyTable, Regression, RegressionEnergy
from eetool.records import canonical
from eetool_runtime.bundle import Bundle
from tests.helpers.latency_tables import COMPOSITION, SIZES, conv, entry, kernel_costs, predictor, table, true_ms
from tests.helpers.onnx_graphs import model, save
from tests.helpers.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[3]
REGRESSION_OF_POOLS = Regression("pool", "fp32", "onnxruntime", 1, "lab", 0.002, 0.0, 0.1, 20, 0.1)


def test_kernel_costs_entry_of_table_returns_measured_latency() -> None:
    cost = kernel_costs().latency(conv(16, 32))
    assert (cost.value, cost.basis, cost.measured) == (true_ms(conv(16, 32)), ENTRY, True)


def test_kernel_costs_far_from_entries_uses_regression_with_larger_deviation() -> None:
    near, far = kernel_costs().latency(conv(24, 48)), kernel_costs().latency(conv(24, 48, side=512))
    assert (near.basis, far.basis) == (INTERPOLATED, REGRESSION)
    assert near.value == pytest.approx(true_ms(conv(24, 48)), rel=0.1)
    assert far.value == pytest.approx(true_ms(conv(24, 48, side=512)), rel=0.5)
    assert near.deviation < far.deviation


def test_kernel_costs_few_fitted_entries_extrapolate_to_other_sizes() -> None:
    few = [(16, 16, 32), (32, 32, 16), (64, 64, 8)]
    fitted = {"kind": "fitted", "count": None, "median_ms": None, "spread_ms": None, "n": 100, "cv_error": 0.05}
    entries = tuple(entry(conv(*s), latency_ms=true_ms(conv(*s)), **fitted) for s in few)
    cost = kernel_costs(entries=entries).latency(conv(32, 64, 16))
    assert cost.value == pytest.approx(true_ms(conv(32, 64, 16)), rel=0.4)
    assert (cost.measured, cost.deviation > 0.05) == (False, True)


def test_kernel_costs_without_entries_uses_regression() -> None:
    pool = Kernel("pool", {"channels": 8, "height": 8, "width": 8, "kernel": 2, "stride": 2})
    cost = kernel_costs(REGRESSION_OF_POOLS).latency(pool)
    assert (cost.value, cost.basis) == (REGRESSION_OF_POOLS.ms(pool), REGRESSION)
    assert kernel_costs().latency(pool).basis == GUESSED


def test_predictor_graph_unknown_operator_has_cost_with_wide_interval() -> None:
    kernels = [conv(16, 16), Kernel("other", {"elements": 4096}, ops=("my.own.Twist",))]
    plain, odd = predictor().graph("plain", kernels[:1]), predictor().graph("odd", kernels)
    assert odd.unknown_operators == ("my.own.Twist",)
    assert odd.latency_ms > plain.latency_ms
    assert predictor().kernel_costs.latency(kernels[1]).deviation > 0.5


@pytest.mark.parametrize(
    ("backend", "precision", "threads", "warning"),
    [
        ("litert", "fp32", 1, "no backend litert: predicted from backend onnxruntime"),
        ("onnxruntime", "int8", 1, "no precision int8"),
        ("onnxruntime", "fp32", 4, "no threads 4"),
    ],
)
def test_kernel_costs_other_conditions_warn_and_widen_interval(
    backend: str, precision: str, threads: int, warning: str
) -> None:
    other = KernelCosts(table(), "board", backend, precision, threads)
    assert len(other.warnings) == 1
    assert warning in other.warnings[0]
    assert other.latency(conv(16, 16)).deviation > kernel_costs().latency(conv(16, 16)).deviation + 0.2


def test_kernel_costs_empty_table_raises_missing_error() -> None:
    with pytest.raises(MissingError, match="board has no latency table"):
        KernelCosts(LatencyTable(), "board", "onnxruntime", "fp32", 1)


def test_predictor_graph_energy_adds_up_or_is_unknown() -> None:
    kernels = [conv(16, 16), conv(24, 24)]
    assert predictor().graph("g", kernels).energy_mj.value is None
    with_energy = tuple(entry(conv(*s), energy=KernelEnergy(3 * true_ms(conv(*s)), "core_net")) for s in SIZES)
    energy = predictor(table(entries=with_energy)).graph("g", kernels).energy_mj
    assert (energy.provenance, energy.scope) == ("predicted", "core_net")
    assert energy.value == pytest.approx(3 * sum(true_ms(kernel) for kernel in kernels), rel=0.1)


def test_kernel_costs_energy_of_regression_returns_its_formula() -> None:
    pool = Kernel("pool", {"channels": 8, "height": 8, "width": 8, "kernel": 2, "stride": 2})
    r = dataclasses.replace(REGRESSION_OF_POOLS, energy=RegressionEnergy(0.01, 0.0, 0.5, "core_net"))
    cost = KernelCosts(LatencyTable((), (r,), (), frozenset({"lab"})), "board", "onnxruntime", "fp32", 1).energy(pool)
    assert cost is not None
    assert r.energy is not None
    assert cost.value == r.energy.mj(pool)


sizes = st.sampled_from([8, 12, 16, 24, 40, 64, 100])
kernel_lists = st.lists(st.builds(conv, sizes, sizes, st.sampled_from([4, 8, 16])), min_size=1, max_size=6)
PREDICTOR = predictor()


@settings(max_examples=30)
@given(kernel_lists, kernel_lists)
def test_predictor_graph_more_kernels_add_up(some: list[Kernel], more: list[Kernel]) -> None:
    one, two, both = (PREDICTOR.graph("g", kernels) for kernels in (some, more, some + more))
    assert both.latency_ms == pytest.approx(one.latency_ms + two.latency_ms - COMPOSITION.dispatch_ms)
    assert both.macs == one.macs + two.macs
    assert both.latency_ms > one.latency_ms
    for cost in (one, two, both):
        assert 0 < cost.interval_ms[0] < cost.latency_ms < cost.interval_ms[1]
        assert 0 <= cost.measured_share <= 1


@given(st.integers(1, 5), kernel_lists)
@settings(max_examples=20)
def test_predictor_graph_repeated_block_costs_block_each_time(times: int, block: list[Kernel]) -> None:
    once, repeated = PREDICTOR.graph("g", block), PREDICTOR.graph("g", block * times)
    assert repeated.latency_ms - COMPOSITION.dispatch_ms == pytest.approx(
        times * (once.latency_ms - COMPOSITION.dispatch_ms)
    )


def test_cost_interpolator_single_entry_scales_with_size() -> None:
    one = CostInterpolator([conv(16, 16)], [0.1], [0.02])
    small, large = one(conv(8, 8)).value, one(conv(32, 32)).value
    assert small < 0.1 < large
    assert one(conv(16, 16)).value == pytest.approx(0.1, rel=0.05)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


def test_predict_bundle_gives_components_exits_and_operating_points(bundle: Path) -> None:
    with open_target(bundle, temporary_bundle) as opened:
        target = target_of_variant(opened, "onnx/fp32", 1)
        assert isinstance(opened, Bundle)
    assert target.layout is not None
    prediction = predict(target, PREDICTOR)
    names = [graph.name for graph in prediction.graphs]
    assert names == [c.name for c in opened.manifest.components]
    parts = {graph.name: graph.latency_ms for graph in prediction.graphs}
    deepest = prediction.exits[-1]
    everything = sum(parts.values()) + len(parts) * COMPOSITION.runtime_ms + COMPOSITION.call_ms
    assert deepest.latency_ms == pytest.approx(everything)
    assert [at.latency_ms for at in prediction.exits] == sorted(at.latency_ms for at in prediction.exits)
    points = opened.manifest.variants["onnx/fp32"].operating_points
    for mean in prediction.means:
        thresholds = points[mean.operating_point].thresholds
        if None not in thresholds:  # then every head runs, and the mean is that of the exits
            shares = zip(mean.exit_shares, prediction.exits, strict=True)
            assert mean.latency_ms == pytest.approx(sum(share * at.latency_ms for share, at in shares))
        else:
            assert mean.latency_ms < deepest.latency_ms
    assert {"full", "balanced", "fast"} == {mean.operating_point for mean in prediction.means}
    envelope = {"eetool": "0", "command": "profile", "schema": "predict/2", "ok": True}
    document = {**envelope, **json.loads(canonical(Estimate(**vars(prediction))))}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/predict-2.schema.json").read_text()))


def test_predict_onnx_file_gives_one_graph(tmp_path: Path) -> None:
    path = save(model(), tmp_path / "net.onnx")
    with open_target(path, temporary_bundle) as opened:
        assert predictable_variants(opened) == ("onnx/fp32",)
        prediction = predict(target_of_variant(opened, "onnx/fp32", 1), PREDICTOR)
    assert [(graph.name, graph.kind) for graph in prediction.graphs] == [("net.onnx", "graph")]
    assert (prediction.exits, prediction.means, prediction.provenance) == ((), (), "predicted")


def test_predict_checkpoint_gives_recorded_components(trained: Path) -> None:
    with open_target(trained, temporary_bundle) as opened:
        prediction = predict(target_of_variant(opened, predictable_variants(opened)[0], 1), PREDICTOR)
    assert [graph.kind for graph in prediction.graphs] == ["segment", "exit", "segment", "exit", "exit"]


def test_open_target_other_files_raise_artefact_error(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path, message in ((tmp_path / "notes.txt", "is no bundle"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(ArtefactError, match=message), open_target(path, temporary_bundle):
            pass
    with open_target(bundle, temporary_bundle) as opened, pytest.raises(UsageError, match="has no variant"):
        target_of_variant(opened, "onnx/int8", 1)
