"""Costs of a candidate: recorded and exported networks have the same."""

from dataclasses import replace
from itertools import product

import pytest

from eetool.errors import MissingError
from eetool.latency.estimate.cascade_cost import CachePenalty, CascadeCosts
from eetool.latency.estimate.cascade_price import ENERGY, LATENCY, MACS
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import find_device
from eetool.model.checkpoint import build_net
from eetool.model.spec import ModelSpec
from eetool.search.evaluation.cost_estimation import (
    CandidateCosts,
    CostEstimator,
    costs_of,
    every_exit_can_save,
    least_figures,
)
from eetool.tune.exit_costs import model_macs
from eetool_runtime.manifest import Input

_NEAR = 0.01  # exporters write a size or two more, where the batch is a symbol
LABELS = tuple("0123456789")
MOBILE = "mbv3-8x2-8r1.3e2.5e3-16hs2.3e3.5e2-32x32@24"
NETWORKS = {
    "mobile": (MOBILE, ("stage0.1", "stage1.0"), ("max2,sep3-16", "conv1-8,avg2"), "margin"),
    "residual": ("resnet-16x0-24x1-32x2", ("stage1.0",), ("conv3-16,sep5-8",), "entropy"),
    "cifar": ("resnet8", ("layer1.0", "layer2.0"), ("linear", "max2,conv3-32,max2,conv3-64"), "max_softmax"),
}  # fmt: skip


def spec_of(name: str, learned: bool = False) -> tuple[ModelSpec, str]:
    backbone, taps, branches, score = NETWORKS[name]
    inputs = (Input("input", "float32", ("batch", 3, 32, 32)),)
    return ModelSpec(backbone, inputs, LABELS, taps, branches, None, learned), "learned" if learned else score


def predictor(threads: int = 1) -> Predictor:
    return Predictor(find_device("rpi4"), "onnxruntime", "fp32", threads)


@pytest.mark.parametrize(
    ("name", "learned"), [("mobile", False), ("residual", True), ("residual", False), ("cifar", False)]
)
def test_cost_estimator_recorded_network_costs_what_its_export_costs(name: str, learned: bool) -> None:
    spec, score = spec_of(name, learned)
    net = build_net(spec).eval()
    pricer = CostEstimator(predictor())
    recorded = pricer(spec, net, score)
    exported = pricer._price(pricer._exported(spec, net, score), net, None)
    assert set(recorded.costs) == set(exported.costs) == {MACS, LATENCY, ENERGY}
    for objective, costs in exported.costs.items():
        assert recorded.costs[objective].trunk == pytest.approx(costs.trunk, rel=_NEAR), objective
        assert recorded.costs[objective].heads == pytest.approx(costs.heads, rel=_NEAR), objective
    assert recorded.parameters == exported.parameters
    assert recorded.energy_scope == "board_gross"


@pytest.mark.parametrize("score", ["max_softmax", "entropy", "margin"])
def test_cost_estimator_built_in_network_is_recorded_with_scores_of_searches(score: str) -> None:
    """An export takes a thousand times as long, and a search prices every candidate."""
    spec, _ = spec_of("cifar")
    assert CostEstimator()(spec, build_net(spec).eval(), score).peak_memory_bytes is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_cost_estimator_without_device_gives_the_macs_of_tune(name: str) -> None:
    spec, score = spec_of(name)
    priced = CostEstimator()(spec, build_net(spec).eval(), score)
    assert priced.costs == {MACS: model_macs(spec, score)}
    with pytest.raises(MissingError, match="latency_ms"):
        costs_of(priced, LATENCY, "nothing")


def test_cost_estimator_rejected_exits_are_charged() -> None:
    spec, score = spec_of("cifar")
    costs = CostEstimator(predictor())(spec, build_net(spec).eval(), score).costs[LATENCY]
    through, alone = costs.leaving((0.9, 0.9)), costs.leaving((None, None))
    assert costs.cache is not None
    stretches = (True, True, True)
    with_exits, without = (costs.cache.leaving((run, run), stretches)[-1] for run in (True, False))
    further = with_exits - without
    assert through[-1] - alone[-1] == pytest.approx(sum(costs.heads) + further)
    assert min(*costs.heads, further) > 0


def test_cost_estimator_unknown_operator_is_exported() -> None:
    spec, score = spec_of("residual")
    inputs = replace(spec, branches=("linear",))
    net = build_net(inputs).eval()
    net.backbone.register_forward_hook(lambda module, args, out: out.cumsum(1) - out.cumsum(1) + out)
    priced = CostEstimator(predictor())(inputs, net, score)
    assert priced.peak_memory_bytes is None
    assert priced.costs[LATENCY].trunk[0] > 0


def test_every_exit_can_save_costs_of_exits_compares_leaving_with_continuing() -> None:
    assert every_exit_can_save(CascadeCosts((1.0,), ()))
    assert every_exit_can_save(CascadeCosts((1.0, 3.0, 2.0), (3.5, 1.0)))
    assert not every_exit_can_save(CascadeCosts((1.0, 2.0, 2.0), (3.5, 1.0)))
    assert not every_exit_can_save(CascadeCosts((1.0, 3.0, 2.0), (1.0, 2.0)))


def test_every_exit_can_save_cache_penalty_is_counted() -> None:
    heavy_tail = CachePenalty(((5.0,), (5.0,)), (0.0,), 0.0, 1.0)
    costs = CascadeCosts((1.0, 1.0), (2.0,))
    assert not every_exit_can_save(costs)
    assert every_exit_can_save(replace(costs, cache=heavy_tail))


def test_least_figures_are_below_the_figures_of_all_thresholds() -> None:
    costs = CascadeCosts(
        (1.0, 3.0, 2.0), (0.5, 1.0), cache=CachePenalty(((1.0,), (2.0,), (3.0,)), (0.5, 0.1), 0.1, 1.0)
    )
    least = least_figures(CandidateCosts({MACS: costs, LATENCY: costs}, 10, None))
    for thresholds in product((None, 0.5), repeat=2):
        leaving = costs.leaving(thresholds)
        reached = [i for i, t in enumerate((*thresholds, 0.0)) if t is not None]
        assert min(leaving[i] for i in reached) >= least[LATENCY]
        assert leaving[-1] >= least["worst_latency_ms"]
    assert least["worst_latency_ms"] == costs.leaving((None, None))[-1]
