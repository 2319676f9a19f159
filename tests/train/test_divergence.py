"""Causes of NaN: each message names what has to be changed, and the learning rate only where it is to blame."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError, DivergedError, UsageError
from eetool.model.checkpoint import serialise
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import TrainingSettings
from eetool.records import encode
from eetool.train.divergence import FailedStep, LossRecord, divergence_error
from eetool.train.training_examples import TrainingExamples
from eetool.train.training_loop import RESUME_FORMAT, run_training

SETTINGS = TrainingSettings("joint", epochs=1, seed=0, batch_size=8, learning_rate=0.1)


class Net(nn.Module):
    """Two layers around a function of the features (n, 4)."""

    def __init__(self, between: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.between = nn.Linear(4, 4), nn.Linear(4, 2), between

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x)))  # type: ignore[no-any-return]


def train(
    net: nn.Module, folder: Path, features: Tensor | None = None, settings: TrainingSettings = SETTINGS
) -> EarlyExitNet:
    torch.manual_seed(1)
    x = torch.randn(16, 4) if features is None else features
    examples = TrainingExamples(x, torch.arange(16) % 2, None, None)
    whole = EarlyExitNet(net, {})
    run_training(whole, examples, settings, folder / "state", resume=False)
    return whole


def zero_norm(x: Tensor) -> Tensor:
    """The norm of rows of zeros: its value is 0 and its derivative NaN."""
    return x + (x * 0).pow(2).sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    "between",
    [lambda x: x / (x - x), lambda x: (x - x).log() * 0, lambda x: x * 1e30 * 1e30],
    ids=["division", "logarithm", "overflow"],
)
def test_run_training_network_that_gives_nan_is_named_before_any_step(
    tmp_path: Path, between: Callable[[Tensor], Tensor]
) -> None:
    with pytest.raises(UsageError, match=r"in epoch 1, step 1, before any step: ") as caught:
        train(Net(between), tmp_path)
    assert "before 'backbone.last'" in caught.value.message
    assert "the module 'backbone' (Net) between its inner modules" in caught.value.message
    assert "learning-rate" not in str(caught.value.hint)


def test_run_training_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the gradient of backbone.first.bias was not finite, at an ordinary loss of"):
        train(Net(zero_norm), tmp_path)


def test_run_training_last_step_that_spoils_weights_is_an_error(tmp_path: Path) -> None:
    """The loss of the only step is finite; its update is not, and no model may be written."""
    with pytest.raises(UsageError, match=r"weights are no longer finite after epoch 1: the gradient of backbone.first"):
        train(Net(zero_norm), tmp_path, settings=replace(SETTINGS, batch_size=16))


def test_run_training_features_of_another_scale_are_named(tmp_path: Path) -> None:
    features = torch.linspace(-3e30, 3e30, 64).reshape(16, 4)
    with pytest.raises(ArtefactError, match=r"inputs from -3e\+30 to 3e\+30 are too large for a network"):
        train(Net(), tmp_path, features)


def test_run_training_features_whose_variance_overflows_are_named(tmp_path: Path) -> None:
    features = torch.randn(16, 4)
    features[:, 2] = 1e30
    with pytest.raises(ArtefactError, match=r"inputs from .* to 1e\+30 are too large for a network") as caught:
        train(nn.Sequential(nn.BatchNorm1d(4), Net()), tmp_path, features)
    assert "0.running_var: 1 infinite of 4 values" in caught.value.message


def test_run_training_weights_that_are_nan_from_the_start_are_named(tmp_path: Path) -> None:
    net = Net()
    net.last.weight.data[0, 1] = math.nan
    with pytest.raises(UsageError, match=r"before any step: values .*\n  backbone.last.weight: 1 NaN of 8 values"):
        train(net, tmp_path)


def test_run_training_constant_feature_is_named(tmp_path: Path) -> None:
    features = torch.randn(16, 4)
    features[:, 2] = 7
    standardise = nn.Sequential(Standardise(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match=r"'backbone.0' \(Standardise\) gives 8 NaN .*; feature 2 is 7 in the whole"):
        train(standardise, tmp_path, features)


class Standardise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / x.std(0)


def test_run_training_high_rate_is_named_with_the_losses(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"step 2: the first loss was 0.\d+, the last 0.\d+, and then the steps"):
        train(Net(), tmp_path, settings=replace(SETTINGS, learning_rate=1e38))


def test_run_training_overflow_of_half_precision_is_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    overflow = FailedStep("the loss became nan", torch.ones(2, 2), 2, lambda: net[0](torch.ones(2, 2)) * 0 + math.inf,
                          lambda: net(torch.ones(2, 2)), precision="bf16")  # fmt: skip
    error = divergence_error(net, overflow, LossRecord())
    assert isinstance(error, UsageError)
    assert (str(error.hint), "in bf16, and finite numbers in fp32" in error.message) == (
        "Give --mixed-precision fp32.", True,
    )  # fmt: skip


def test_divergence_error_teacher_is_named() -> None:
    net, x = nn.Linear(2, 2), torch.ones(2, 2)
    step = FailedStep("the loss became nan", x, 2, lambda: net(x), lambda: net(x), teacher=x * math.nan)
    error = divergence_error(net, step, LossRecord())
    assert isinstance(error, ArtefactError)
    assert "the teacher gives 4 NaN" in error.message


def test_run_training_resumed_state_with_nan_is_refused(tmp_path: Path) -> None:
    whole = EarlyExitNet(Net(), {})
    header = {"settings": encode(SETTINGS), "taps": [], "examples": 16}
    state = {name: x * math.nan for name, x in whole.state_dict().items()}
    stored = {"format": RESUME_FORMAT, "run": header, "epoch": 0, "net": state, "optimizer": {}, "average": []}
    (tmp_path / "state").write_bytes(serialise(stored))
    examples = TrainingExamples(torch.ones(16, 4), torch.arange(16) % 2, None, None)
    with pytest.raises(ArtefactError, match=r"backbone.first.weight: 16 NaN of 16 values") as caught:
        run_training(whole, examples, SETTINGS, tmp_path / "state", resume=True)
    assert caught.value.hint == "Start without --resume."
