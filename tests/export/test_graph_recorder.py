"""A recorded network costs what the exported one costs, component by component."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from eetool.errors import MissingError
from eetool.export.graph_recorder import UnknownOperatorError, record_graphs
from eetool.export.scored_network import ScoredNetwork
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import find_device
from eetool.model.checkpoint import ModelSpec, build_net
from eetool.model.early_exit import EarlyExitNet
from eetool.search.evaluation.cost_estimation import ENERGY, LATENCY, MACS, CostEstimator, costs_of
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


@pytest.mark.parametrize(("name", "learned"), [("mobile", False), ("residual", True), ("cifar", False)])
def test_recorded_and_exported_networks_have_one_price(name: str, learned: bool) -> None:
    spec, score = spec_of(name, learned)
    net = build_net(spec).eval()
    pricer = CostEstimator(predictor())
    recorded, exported = pricer(spec, net, score), pricer._exported(spec, net, score)
    assert set(recorded.costs) == set(exported.costs) == {MACS, LATENCY, ENERGY}
    for objective, costs in exported.costs.items():
        assert recorded.costs[objective].trunk == pytest.approx(costs.trunk, rel=_NEAR), objective
        assert recorded.costs[objective].heads == pytest.approx(costs.heads, rel=_NEAR), objective
    assert recorded.parameters == exported.parameters
    assert recorded.energy_scope == "board_gross"


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_of_tune(name: str) -> None:
    spec, score = spec_of(name)
    priced = CostEstimator()(spec, build_net(spec).eval(), score)
    assert priced.costs == {MACS: model_macs(spec, score)}
    with pytest.raises(MissingError, match="latency_ms"):
        costs_of(priced, LATENCY, "nothing")


def test_every_rejected_branch_is_charged() -> None:
    spec, score = spec_of("cifar")
    costs = CostEstimator(predictor())(spec, build_net(spec).eval(), score).costs[LATENCY]
    through, alone = costs.leaving((0.9, 0.9)), costs.leaving((None, None))
    assert through[-1] - alone[-1] == pytest.approx(sum(costs.heads))
    assert min(costs.heads) > 0


def test_operators_in_place_and_without_a_name_here(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(7200, 10))
    in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), *plain[2:])
    x = torch.zeros(1, 3, 32, 32)
    found = [record_graphs(ScoredNetwork(EarlyExitNet(net, {})).eval(), (x,)) for net in (plain, in_place)]
    ops = [[node.op for node in recorded.graphs["exit0"].nodes] for recorded in found]
    score = ["ReduceMax", "Sub", "Div", "Softmax", "ReduceMax"]
    assert ops[0] == ops[1] == ["Conv", "Relu", "Reshape", "Gemm", *score]
    with pytest.raises(UnknownOperatorError, match="cumsum"):
        record_graphs(ScoredNetwork(EarlyExitNet(nn.Sequential(*plain, Sum()), {})).eval(), (x,))


class Sum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumsum(1)


def test_peak_memory_holds_weights_and_what_is_alive() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.Conv2d(8, 2, 1, bias=False), nn.Flatten())
    recorded = record_graphs(ScoredNetwork(EarlyExitNet(net, {})).eval(), (torch.zeros(1, 3, 4, 4),))
    weights, temperature = 4 * (24 + 16), 4
    assert recorded.peak_memory_bytes == weights + temperature + 4 * (8 + max(3, 2)) * 16


def test_a_network_that_cannot_be_recorded_is_exported() -> None:
    spec, score = spec_of("residual")
    inputs = replace(spec, branches=("linear",))
    net = build_net(inputs).eval()
    net.backbone.register_forward_hook(lambda module, args, out: out.cumsum(1) - out.cumsum(1) + out)
    priced = CostEstimator(predictor())(inputs, net, score)
    assert priced.peak_memory_bytes is None
    assert priced.costs[LATENCY].trunk[0] > 0
