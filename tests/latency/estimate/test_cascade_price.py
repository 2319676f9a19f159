"""One price of one cascade: estimate, tune and search charge the same."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eetool.export.temporary_bundle import temporary_bundle
from eetool.latency.estimate.cascade_cost import CascadeCosts, CascadeLayout
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.latency.estimate.prediction_target import open_target, target_of_variant
from eetool.latency.estimate.predictor import Predictor, predict
from eetool.latency.table.hw_profile import HwProfile, profile_document
from eetool.latency.table.table import KernelEnergy
from eetool.latency.table.weight_streaming import WeightStreaming
from eetool.model.checkpoint import load_checkpoint
from eetool.records import canonical
from eetool.search.evaluation.cost_estimation import CostEstimator
from eetool.tune.device_costs import predicted_costs
from tests.helpers.latency_tables import COMPOSITION, SIZES, conv, entry, profile, table, true_ms

PER_COMPONENT_MS, PER_MB_MS = 0.006, 0.03
ENTRIES = tuple(entry(conv(*s), energy=KernelEnergy(3 * true_ms(conv(*s)), "core_net")) for s in SIZES)


def cached_profile() -> HwProfile:
    composition = dataclasses.replace(
        COMPOSITION, turn_ms=PER_COMPONENT_MS, turn_ms_per_mb=PER_MB_MS, dispatch_mj=0.002, step_ms=0.0005
    )
    return profile(dataclasses.replace(table(entries=ENTRIES), compositions=(composition,)))


def cached_predictor() -> Predictor:
    return Predictor(cached_profile(), "onnxruntime", "fp32", 1)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("board") / "board.json"
    path.write_text(canonical({"schema": "hw_profile/1", **profile_document(cached_profile())}))
    return path


@pytest.mark.parametrize("unit", [LATENCY, ENERGY])
def test_price_one_model_by_three_ways_gives_the_same_figures(
    tuned: Path, bundle: Path, device: Path, unit: str
) -> None:
    with open_target(bundle, temporary_bundle) as opened:
        prediction = predict(target_of_variant(opened, "onnx/fp32", 1), cached_predictor())
    checkpoint = load_checkpoint(tuned)
    policy = checkpoint.record.policy
    assert policy is not None
    searched = CostEstimator(cached_predictor())(checkpoint.record.spec, checkpoint.build(), policy.score).costs[unit]
    of_model = predicted_costs(tuned, str(device), temporary_bundle, unit=unit, score=policy.score).costs
    of_bundle = predicted_costs(bundle, str(device), temporary_bundle, unit=unit).costs
    exits = [at.latency_ms if unit == LATENCY else at.energy_mj.value for at in prediction.exits]
    means = {m.operating_point: m.latency_ms if unit == LATENCY else m.energy_mj.value for m in prediction.means}
    assert set(means) == {"full", "balanced", "fast"}
    for costs in (searched, of_model, of_bundle):
        assert costs.leaving((0.0, 0.0)).tolist() == pytest.approx(exits, rel=1e-9)
        for name, point in policy.operating_points.items():
            assert point.expected is not None
            mean = float(np.dot(point.expected.exit_shares, costs.leaving(point.thresholds)))
            assert mean == pytest.approx(means[name], rel=1e-9), name


def test_predict_checkpoint_and_its_bundle_gives_the_same_figures(tuned: Path, bundle: Path) -> None:
    documents = []
    for path in (tuned, bundle):
        with open_target(path, temporary_bundle) as opened:
            documents.append(predict(target_of_variant(opened, "onnx/fp32", 1), cached_predictor()))
    recorded, exported = documents
    assert dataclasses.replace(recorded, model="") == dataclasses.replace(exported, model="")


def test_price_cascade_adds_runtime_dispatch_and_cache_penalty() -> None:
    predictor = cached_predictor()
    composition = predictor.kernel_costs.composition
    small, large = (predictor.graph(name, [conv(*sizes)]) for name, sizes in (("s", (8, 8)), ("l", (128, 128))))
    assert large.weight_mb == pytest.approx(128 * 128 * 9 * 4 / 1e6)
    layout = CascadeLayout((("s",), ("l",)), (None,))
    price = predictor.cascade(layout, {"s": small, "l": large})
    first, both = price.costs[LATENCY].leaving((0.5,))
    assert first == pytest.approx(composition.call_ms + composition.runtime_ms + small.latency_ms)
    added = 2 * PER_COMPONENT_MS + PER_MB_MS * 2 * small.weight_mb
    assert both == pytest.approx(first + composition.runtime_ms + large.latency_ms + added)
    assert price.costs[MACS] == CascadeCosts((float(small.macs), float(large.macs)), (0.0,))
    halves = [(g.interval_ms[1] - g.interval_ms[0]) / 2 for g in (small, large)]
    assert price.half_widths_ms.leaving((0.5,)).tolist() == pytest.approx([halves[0], sum(halves)])


def test_price_cascade_streams_weights_by_all_that_ran_before() -> None:
    streaming = WeightStreaming(resident_mb=0.5, ms_per_mb=0.1, ms_per_kernel=0.01)
    composition = dataclasses.replace(COMPOSITION, turn_ms_per_mb=PER_MB_MS, streaming=streaming)
    predictor = Predictor(profile(dataclasses.replace(table(), compositions=(composition,))), "onnxruntime", "fp32", 1)
    plain = Predictor(profile(table()), "onnxruntime", "fp32", 1)
    one = conv(128, 128)  # 0.59 MB
    mb = 128 * 128 * 9 * 4 / 1e6
    alone, without = (p.graph("g", [one]).latency_ms for p in (predictor, plain))
    assert alone == pytest.approx(without + (mb / 0.5 - 1) * (0.1 * mb + 0.01))
    graphs = {name: predictor.graph(name, [one]) for name in ("a", "b")}
    costs = predictor.cascade(CascadeLayout((("a",), ("b",)), (None,)), graphs).costs[LATENCY]
    first, both = costs.leaving((0.5,))
    assert first == pytest.approx(composition.call_ms + composition.runtime_ms + alone)
    # The second streams all of its weights, as both together are more than twice 0.5 MB; the first has 18 % of them.
    streamed = 0.1 * mb + 0.01
    assert both == pytest.approx(first + composition.runtime_ms + without + streamed + 2 * PER_MB_MS * mb)


def test_price_cascade_skipped_exit_has_no_share_of_the_penalty() -> None:
    predictor = cached_predictor()
    graphs = {name: predictor.graph(name, [conv(64, 64)]) for name in ("seg0", "exit0", "seg1")}
    costs = predictor.cascade(CascadeLayout((("seg0",), ("seg1",)), ("exit0",)), graphs).costs[LATENCY]
    mb, parts = graphs["seg0"].weight_mb, graphs["seg0"].latency_ms + predictor.kernel_costs.composition.runtime_ms
    skipped, run = costs.leaving((None,))[-1], costs.leaving((0.9,))[-1]
    assert run - skipped == pytest.approx(parts + PER_COMPONENT_MS + PER_MB_MS * mb)


def test_price_cascade_unknown_energy_is_absent() -> None:
    predictor = Predictor(profile(table()), "onnxruntime", "fp32", 1)
    price = predictor.cascade(CascadeLayout((("g",),), ()), {"g": predictor.graph("g", [conv(8, 8)])})
    assert ENERGY not in price.costs
    assert [e.value for e in price.energies(())] == [None]
    assert price.mean_energy((), (1.0,)).value is None
