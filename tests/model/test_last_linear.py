"""The last linear layer of classifiers of several kinds."""

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.backbones.registry import build_backbone
from eetool.model.early_exit import EarlyExitNet
from eetool.model.last_linear import find_last_linear, require_last_linear, without_layer


class Softmax(nn.Module):
    """Returns probabilities, and not what its linear layer returns."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1)).softmax(1)


class Unused(nn.Module):
    """Has a second linear layer of the same size, whose output is not returned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 3), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.first(x.flatten(1))
        self.second(x.flatten(1))
        return logits


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet8", "linear"),
        ("imagenet-resnet18", "fc"),
        ("mobilenetv1-0.25", "classifier"),
        ("mobilenetv3-small", "classifier.layers.3"),
        ("efficientnet-lite0", "classifier.layers.1"),
        ("vit-tiny", "classifier"),
    ],
)
def test_find_last_linear_of_built_in_networks(name: str, layer: str) -> None:
    net = EarlyExitNet(build_backbone(name, (1, 3, 32, 32), 7), {}).train()
    assert find_last_linear(net, (torch.randn(3, 3, 32, 32),)) == layer
    assert net.training


def test_find_last_linear_returns_the_one_whose_output_is_the_logits() -> None:
    x = torch.randn(2, 3, 2, 2)
    assert find_last_linear(EarlyExitNet(Unused(), {}), (x,)) == "first"
    assert find_last_linear(EarlyExitNet(Softmax(), {}), (x,)) is None
    with pytest.raises(UsageError, match="the logits of mine are not the output of a linear layer"):
        require_last_linear(EarlyExitNet(Softmax(), {}), (x,), "mine")


def test_without_layer_returns_its_inputs_and_puts_it_back() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    x = torch.randn(3, 4)
    expected = net(x)
    with without_layer(net, "1.1"):
        assert torch.equal(net(x), x.relu())
    assert torch.equal(net(x), expected)
