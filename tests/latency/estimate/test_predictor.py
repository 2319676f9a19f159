"""Predictions: exact entries, what lies between, what nobody knows, and sums that add up."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import write_tiny_bundle

from eetool.errors import ArtefactError, MissingError, UsageError
from eetool.latency.estimate.prediction_target import open_target, predictable_variants, target_of_variant
from eetool.latency.estimate.predictor import Predictor, predict
from eetool.latency.kernels.kernel import Kernel, work
from eetool.latency.table.hw_profile import DeviceFacts, FigureSource, HwProfile
from eetool.latency.table.interpolation import CostInterpolator
from eetool.latency.table.kernel_costs import ENTRY, GUESSED, INTERPOLATED, REGRESSION, KernelCosts
from eetool.latency.table.table import Composition, KernelEnergy, LatencyTable, Regression, RegressionEnergy, TableEntry
from eetool.records import canonical
from tests.helpers.onnx_graphs import model, save

ROOT = Path(__file__).parents[3]
FACTS = DeviceFacts("soc", "cpu", 4, None, (), ())
SIZES = [(i, o) for i in (8, 16, 32, 64, 128) for o in (8, 16, 32, 64, 128)]


def conv(inner: int, out: int, side: int = 16) -> Kernel:
    return Kernel("conv", {"in_channels": inner, "out_channels": out, "height": side, "width": side, "kernel": 3})


def true_ms(kernel: Kernel) -> float:
    """A device that is easy to understand."""
    return 0.004 + kernel.macs * 2e-8 + work(kernel).moved_bytes * 1e-8


def entry(kernel: Kernel, **changes: Any) -> TableEntry:
    made = TableEntry(
        "measured", kernel.kind, kernel.shape, kernel.precision, "onnxruntime", 1, "lab", 50, true_ms(kernel), 0.0
    )
    return dataclasses.replace(made, **changes)


COMPOSITION = Composition("fp32", "onnxruntime", 1, "lab", 0.01, 30, 0.03, call_ms=0.004, runtime_ms=0.001)
ENTRIES = tuple(entry(conv(*sizes)) for sizes in SIZES)
REGRESSION_OF_POOLS = Regression("pool", "fp32", "onnxruntime", 1, "lab", 0.002, 0.0, 0.1, 20, 0.1)


def table(*items: Any, entries: tuple[TableEntry, ...] = ENTRIES) -> LatencyTable:
    regressions = tuple(item for item in items if isinstance(item, Regression))
    return LatencyTable(entries, regressions, (COMPOSITION,), frozenset({"lab"}))


def book(*items: Any, **named: Any) -> KernelCosts:
    return KernelCosts(table(*items, **named), "board", "onnxruntime", "fp32", 1)


def profile(latency: LatencyTable) -> HwProfile:
    source = FigureSource("lab", "A lab", "CC0-1.0")
    return HwProfile(
        "board", "Board", (), FACTS, (), latency.entries, latency.regressions, latency.compositions, (source,)
    )


def predictor(latency: LatencyTable | None = None, backend: str = "onnxruntime", threads: int = 1) -> Predictor:
    return Predictor(profile(latency or table()), backend, "fp32", threads)


def test_a_kernel_of_the_table_costs_what_was_measured() -> None:
    found = book().latency(conv(16, 32))
    assert (found.value, found.basis, found.measured) == (true_ms(conv(16, 32)), ENTRY, True)


def test_between_entries_is_interpolated_and_far_from_all_is_regressed_with_more_doubt() -> None:
    near, far = book().latency(conv(24, 48)), book().latency(conv(24, 48, side=512))
    assert (near.basis, far.basis) == (INTERPOLATED, REGRESSION)
    assert near.value == pytest.approx(true_ms(conv(24, 48)), rel=0.1)
    assert far.value == pytest.approx(true_ms(conv(24, 48, side=512)), rel=0.5)
    assert near.deviation < far.deviation


def test_a_few_fitted_entries_carry_to_other_sizes() -> None:
    few = [(16, 16, 32), (32, 32, 16), (64, 64, 8)]
    fitted = {"kind": "fitted", "count": None, "median_ms": None, "spread_ms": None, "n": 100, "cv_error": 0.05}
    entries = tuple(entry(conv(*s), latency_ms=true_ms(conv(*s)), **fitted) for s in few)
    found = book(entries=entries).latency(conv(32, 64, 16))
    assert found.value == pytest.approx(true_ms(conv(32, 64, 16)), rel=0.4)
    assert (found.measured, found.deviation > 0.05) == (False, True)


def test_a_regression_answers_where_there_are_no_entries() -> None:
    pool = Kernel("pool", {"channels": 8, "height": 8, "width": 8, "kernel": 2, "stride": 2})
    found = book(REGRESSION_OF_POOLS).latency(pool)
    assert (found.value, found.basis) == (REGRESSION_OF_POOLS.ms(pool), REGRESSION)
    assert book().latency(pool).basis == GUESSED


def test_unknown_operators_have_a_price_and_a_wide_interval() -> None:
    kernels = [conv(16, 16), Kernel("other", {"elements": 4096}, ops=("my.own.Twist",))]
    plain, odd = predictor().graph("plain", kernels[:1]), predictor().graph("odd", kernels)
    assert odd.unknown_operators == ("my.own.Twist",)
    assert odd.latency_ms > plain.latency_ms
    assert predictor().book.latency(kernels[1]).deviation > 0.5


@pytest.mark.parametrize(
    ("backend", "precision", "threads", "warning"),
    [
        ("litert", "fp32", 1, "no backend litert: predicted from backend onnxruntime"),
        ("onnxruntime", "int8", 1, "no precision int8"),
        ("onnxruntime", "fp32", 4, "no threads 4"),
    ],
)
def test_other_conditions_widen_the_interval_and_warn(backend: str, precision: str, threads: int, warning: str) -> None:
    other = KernelCosts(table(), "board", backend, precision, threads)
    assert len(other.warnings) == 1
    assert warning in other.warnings[0]
    assert other.latency(conv(16, 16)).deviation > book().latency(conv(16, 16)).deviation + 0.2


def test_nothing_known_is_an_error() -> None:
    with pytest.raises(MissingError, match="board has no latency table"):
        KernelCosts(LatencyTable(), "board", "onnxruntime", "fp32", 1)


def test_energy_is_unknown_or_adds_up_but_never_zero() -> None:
    kernels = [conv(16, 16), conv(24, 24)]
    assert predictor().graph("g", kernels).energy_mj.value is None
    with_energy = tuple(entry(conv(*s), energy=KernelEnergy(3 * true_ms(conv(*s)), "core_net")) for s in SIZES)
    energy = predictor(table(entries=with_energy)).graph("g", kernels).energy_mj
    assert (energy.provenance, energy.scope) == ("predicted", "core_net")
    assert energy.value == pytest.approx(3 * sum(true_ms(kernel) for kernel in kernels), rel=0.1)


def test_energy_of_a_regression() -> None:
    pool = Kernel("pool", {"channels": 8, "height": 8, "width": 8, "kernel": 2, "stride": 2})
    r = dataclasses.replace(REGRESSION_OF_POOLS, energy=RegressionEnergy(0.01, 0.0, 0.5, "core_net"))
    found = KernelCosts(LatencyTable((), (r,), (), frozenset({"lab"})), "board", "onnxruntime", "fp32", 1).energy(pool)
    assert found is not None
    assert r.energy is not None
    assert found.value == r.energy.mj(pool)


sizes = st.sampled_from([8, 12, 16, 24, 40, 64, 100])
kernel_lists = st.lists(st.builds(conv, sizes, sizes, st.sampled_from([4, 8, 16])), min_size=1, max_size=6)
PREDICTOR = predictor()


@settings(max_examples=30)
@given(kernel_lists, kernel_lists)
def test_graphs_add_up_and_grow(some: list[Kernel], more: list[Kernel]) -> None:
    one, two, both = (PREDICTOR.graph("g", kernels) for kernels in (some, more, some + more))
    assert both.latency_ms == pytest.approx(one.latency_ms + two.latency_ms - COMPOSITION.dispatch_ms)
    assert both.macs == one.macs + two.macs
    assert both.latency_ms > one.latency_ms
    for cost in (one, two, both):
        assert 0 < cost.interval_ms[0] < cost.latency_ms < cost.interval_ms[1]
        assert 0 <= cost.measured_share <= 1


@given(st.integers(1, 5), kernel_lists)
@settings(max_examples=20)
def test_repeating_a_block_costs_the_block_each_time(times: int, block: list[Kernel]) -> None:
    once, repeated = PREDICTOR.graph("g", block), PREDICTOR.graph("g", block * times)
    assert repeated.latency_ms - COMPOSITION.dispatch_ms == pytest.approx(
        times * (once.latency_ms - COMPOSITION.dispatch_ms)
    )


def test_an_estimator_of_a_single_entry_scales_it() -> None:
    one = CostInterpolator([conv(16, 16)], [0.1], [0.02])
    small, large = one(conv(8, 8)).value, one(conv(32, 32)).value
    assert small < 0.1 < large
    assert one(conv(16, 16)).value == pytest.approx(0.1, rel=0.05)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


def test_a_bundle_is_predicted_per_component_exit_and_operating_point(bundle: Path) -> None:
    with open_target(bundle) as found:
        subject = target_of_variant(found, "onnx/fp32", 1)
    assert subject.manifest is not None
    made = predict(subject, PREDICTOR)
    names = [graph.name for graph in made.graphs]
    assert names == [c.name for c in subject.manifest.components]
    parts = {graph.name: graph.latency_ms for graph in made.graphs}
    deepest = made.exits[-1]
    everything = sum(parts.values()) + len(parts) * COMPOSITION.runtime_ms + COMPOSITION.call_ms
    assert deepest.latency_ms == pytest.approx(everything)
    assert [at.latency_ms for at in made.exits] == sorted(at.latency_ms for at in made.exits)
    points = subject.manifest.variants["onnx/fp32"].operating_points
    for mean in made.means:
        thresholds = points[mean.operating_point].thresholds
        if None not in thresholds:  # then every head runs, and the mean is that of the exits
            shares = zip(mean.exit_shares, made.exits, strict=True)
            assert mean.latency_ms == pytest.approx(sum(share * at.latency_ms for share, at in shares))
        else:
            assert mean.latency_ms < deepest.latency_ms
    assert {"full", "balanced", "fast"} == {mean.operating_point for mean in made.means}
    document = {"eetool": "0", "command": "profile", "schema": "predict/1", "ok": True, **json.loads(canonical(made))}
    jsonschema.validate(document, json.loads((ROOT / "eetool/schemas/predict-1.schema.json").read_text()))


def test_an_onnx_file_is_one_graph(tmp_path: Path) -> None:
    path = save(model(), tmp_path / "net.onnx")
    with open_target(path) as found:
        assert predictable_variants(found) == ("onnx/fp32",)
        made = predict(target_of_variant(found, "onnx/fp32", 1), PREDICTOR)
    assert [(graph.name, graph.kind) for graph in made.graphs] == [("net.onnx", "graph")]
    assert (made.exits, made.means, made.provenance) == ((), (), "predicted")


def test_a_checkpoint_is_exported_to_be_looked_into(trained: Path) -> None:
    with open_target(trained) as found:
        made = predict(target_of_variant(found, predictable_variants(found)[0], 1), PREDICTOR)
    assert [graph.kind for graph in made.graphs] == ["segment", "exit", "segment", "exit", "exit"]


def test_subjects_that_are_refused(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path, message in ((tmp_path / "notes.txt", "is no bundle"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(ArtefactError, match=message), open_target(path):
            pass
    with open_target(bundle) as found, pytest.raises(UsageError, match="has no variant"):
        target_of_variant(found, "onnx/int8", 1)
