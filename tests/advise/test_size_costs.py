"""Costs of one network at several sizes: those of the cascade that is made of them."""

from dataclasses import replace

import numpy as np
import pytest

from eetool.advise.size_costs import SizeCosts, SizedNetwork
from eetool.latency.estimate.cascade_price import LATENCY
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import find_device
from eetool.model.checkpoint import Checkpoint
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.network_joining import join_networks
from eetool.search.evaluation.cost_estimation import CostEstimator
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool.tune.exit_costs import model_macs
from eetool_runtime.manifest import Preprocess, Resize


def at(size: int) -> Checkpoint:
    checkpoint = attach_exits("resnet-4x1-8x1", (1, 1, size, size), 3, ExitPlan(0), seed=0)
    spec = checkpoint.record.spec
    rule = Preprocess(1 / 255, (0.5,), (0.5,), Resize("crop"))
    spec = replace(spec, inputs=(replace(spec.inputs[0], preprocess=rule),))
    return replace(checkpoint, record=replace(checkpoint.record, spec=spec))


SMALL, FULL = SizedNetwork(0, 16), SizedNetwork(1, 32)


@pytest.fixture(scope="module")
def networks() -> dict[SizedNetwork, Checkpoint]:
    return {SMALL: at(16), FULL: at(32)}


def costs(networks: dict[SizedNetwork, Checkpoint], predictor: Predictor | None) -> SizeCosts:
    opened = {size: (x.record.spec, x.build()) for size, x in networks.items()}
    return SizeCosts(opened, predictor)


def test_cascade_costs_equal_those_of_the_joined_networks(networks: dict[SizedNetwork, Checkpoint]) -> None:
    joined = join_networks(list(networks.values()), ensemble=False)
    counted, macs = costs(networks, None), model_macs(joined.record.spec)
    predictor = Predictor(find_device("rpi5"), "onnxruntime", "fp32", 1)
    priced = costs(networks, predictor)
    expected = CostEstimator(predictor)(joined.record.spec, joined.build(), MAX_SOFTMAX).costs[LATENCY]
    for thresholds in ((0.5,), (None,)):
        np.testing.assert_allclose(counted.cascade((SMALL,)).leaving(thresholds), macs.leaving(thresholds))
        ours, theirs = priced.cascade((SMALL,)).leaving(thresholds), expected.leaving(thresholds)
        np.testing.assert_allclose(ours[-1], theirs[-1], rtol=1e-6)
    assert counted.alone(SMALL).value == counted.cascade((SMALL,)).leaving((0.5,))[0]
    assert counted.unsplit.value == counted.cascade((SMALL,)).leaving((None,))[-1]
    assert counted.unsplit.deviation == 0


def test_ratio_deviation_shrinks_where_fewer_inputs_go_on(networks: dict[SizedNetwork, Checkpoint]) -> None:
    priced = costs(networks, Predictor(find_device("rpi5"), "onnxruntime", "fp32", 1))
    ratio = priced.alone(SMALL).value / priced.unsplit.value
    most, none = (
        priced.ratio_deviation((SMALL,), (0.5, 0.5), ratio + 0.5),
        priced.ratio_deviation((SMALL,), (1, 0), ratio),
    )
    assert most == pytest.approx(none)  # the share that goes on costs its share of the full size, whose error cancels
    assert none > 0
    assert costs(networks, None).ratio_deviation((SMALL,), (1, 0), ratio) == 0
