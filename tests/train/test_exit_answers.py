"""Outputs of every exit: the size of a pass depends on the size of an input, not on the number of inputs."""

from typing import Any

import numpy as np
import pytest

from eetool.data import rows
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.train.exit_answers import NetworkAnswers
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits

SHAPE = (1, 3, 16, 16)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return attach_exits("resnet8", SHAPE, 4, ExitPlan(1, "linear"), seed=0)


@pytest.mark.parametrize("count", [5, 40])
def test_network_answers_pass_never_exceeds_the_size_of_a_pass(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    inputs = np.random.default_rng(0).random((count, *SHAPE[1:]), np.float32)
    expected = [x.numpy() for x in NetworkAnswers(checkpoint).outputs(inputs)[0]]
    monkeypatch.setattr(rows, "_PASS_VALUES", 4 * inputs[0].size)
    sizes, forward = list[int](), EarlyExitNet.forward_outputs

    def counted(net: EarlyExitNet, *tensors: Any) -> Any:
        sizes.append(len(tensors[0]))
        return forward(net, *tensors)

    monkeypatch.setattr(EarlyExitNet, "forward_outputs", counted)
    done = list[int]()
    logits, learned = NetworkAnswers(checkpoint).outputs(inputs, done.append)
    assert max(sizes) == 4
    assert sum(done) == count
    assert learned == []
    for x, y in zip(logits, expected, strict=True):
        np.testing.assert_allclose(x.numpy(), y, rtol=1e-4, atol=1e-5)
