"""Normalisation of pixels that weights from elsewhere expect."""

import numpy as np
import torch
from torch import Tensor, nn

from eetool.data.source import Source
from eetool.model.early_exit import EarlyExitNet
from eetool.train.normalisation_check import check_normalisation
from eetool.train.source_examples import AS_THEY_ARE, Normalisation, training_examples
from tests.helpers.input_rows.row import Listener

HALF: Normalisation = ((0.5,), (0.5,))
NONE: Normalisation = ((0.0,), (1.0,))
IMAGES = 120


class SignNetwork(nn.Module):
    """Tells light from dark images where pixels are -1 to 1; of pixels from 0 to 1 all look light."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack((-mean, mean), 1)  # (N, 2)


class ConstantNetwork(nn.Module):
    """Names one class for every image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x.mean((1, 2, 3)) * 0, x.mean((1, 2, 3)) * 0 + 1), 1)  # (N, 2)


def photographs(channels: int = 3) -> Source:
    """Return images of two classes, dark and light."""
    labels = np.arange(IMAGES) % 2
    noise = np.random.default_rng(0).integers(0, 60, (IMAGES, channels, 4, 4))
    return Source("photos", (noise + 160 * labels[:, None, None, None]).astype(np.uint8), labels, ("a", "b"), None)


def lines(rule: Normalisation, net: nn.Module, channels: int = 3) -> list[str]:
    source, listener = photographs(channels), Listener()
    examples = training_examples(source, np.arange(60), AS_THEY_ARE, rule)
    check_normalisation(EarlyExitNet(net, {}), source, np.arange(60, IMAGES), examples, listener)
    return listener.lines


def test_check_normalisation_another_preset_is_clearly_better() -> None:
    for channels in (1, 3):
        said, warning = lines(NONE, SignNetwork(), channels)
        assert said == "the weights are taken to expect pixels of mean 0 and deviation 1 (--normalize)"
        assert "full depth has 50 % accuracy on 60 held-out examples, and 100 % with" in warning
        assert warning.endswith(("--normalize half", "--normalize dataset", "--normalize imagenet"))


def test_check_normalisation_right_one_gives_no_warning() -> None:
    assert lines(HALF, SignNetwork()) == [
        "the weights are taken to expect pixels of mean 0.5 and deviation 0.5 (--normalize)"
    ]


def test_check_normalisation_other_classes_are_near_chance_with_all() -> None:
    _, warning = lines(HALF, ConstantNetwork())
    assert warning.startswith("warning: full depth has 50 % accuracy on 60 held-out examples, near chance")
