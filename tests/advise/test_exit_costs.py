"""Costs of a choice of exits: those of the network that has exactly these exits."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.advise.exit_costs import ExitCosts
from eetool.advise.trial_exits import TrialExit, TrialNet, find_taps, trial_nets
from eetool.latency.estimate.cascade_price import LATENCY, MACS
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import find_device
from eetool.model.checkpoint import build_net
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.references.reference import float_input
from eetool.model.spec import ModelSpec
from eetool.search.evaluation.cost_estimation import CostEstimator

SPEC = ModelSpec("resnet-4x1-8x1-8x1", float_input("input", (1, 3, 16, 16)), ("a", "b", "c"), (), ())


@pytest.fixture(scope="module")
def nets() -> list[TrialNet]:
    backbone = build_net(SPEC).eval().backbone
    return trial_nets(backbone, SPEC, find_taps(backbone, SPEC), seed=0)


def real(exits: tuple[TrialExit, ...], predictor: Predictor | None) -> dict[str, np.ndarray]:
    layouts = ("NCHW",) * len(exits)
    spec = replace(SPEC, taps=tuple(e.tap for e in exits), branches=tuple(e.branch for e in exits), layouts=layouts)
    priced = CostEstimator(predictor)(spec, build_net(spec).eval(), MAX_SOFTMAX)
    return {unit: costs.leaving((0.0,) * len(exits)) for unit, costs in priced.costs.items()}


def test_cascade_costs_equal_those_of_the_network_with_these_exits(nets: list[TrialNet]) -> None:
    predictor = Predictor(find_device("rpi5"), "onnxruntime", "fp32", 1)
    counted, priced = ExitCosts(nets, len(nets[0].exits), None), ExitCosts(nets, len(nets[0].exits), predictor)
    linear, strong = nets[0].exits, nets[1].exits
    for exits in ((linear[0],), (strong[1],), (linear[0], strong[1]), (strong[0], linear[1])):
        always = (0.0,) * len(exits)
        expected = real(exits, predictor)
        np.testing.assert_allclose(counted.cascade(exits).leaving(always), expected[MACS])
        np.testing.assert_allclose(counted.macs(exits).leaving(always), expected[MACS])
        np.testing.assert_allclose(priced.cascade(exits).leaving(always), expected[LATENCY], rtol=1e-6)


def test_ratio_deviation_is_that_of_branches_where_all_inputs_run_everything(nets: list[TrialNet]) -> None:
    costs = ExitCosts(nets, len(nets[0].exits), Predictor(find_device("rpi5"), "onnxruntime", "fp32", 1))
    exits = (nets[0].exits[0],)
    whole, early = costs.ratio_deviation(exits, (0.0, 1.0), 1.0), costs.ratio_deviation(exits, (0.9, 0.1), 0.5)
    assert 0 < whole < early
    assert ExitCosts(nets, len(nets[0].exits), None).ratio_deviation(exits, (0.9, 0.1), 0.5) == 0


def test_share_of_backbone_grows_to_one(nets: list[TrialNet]) -> None:
    costs = ExitCosts(nets, len(nets[0].exits), None)
    shares = [costs.share_of_backbone(e.place)[0] for e in nets[0].exits]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_guessed_share_is_that_of_kernels_without_figures(nets: list[TrialNet]) -> None:
    from tests.helpers.latency_tables import predictor

    assert ExitCosts(nets, len(nets[0].exits), None).guessed_share() == 0
    share = ExitCosts(nets, len(nets[0].exits), predictor()).guessed_share()  # a table of 3×3 convolutions
    assert 0 < share < 1
