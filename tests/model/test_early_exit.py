"""Early-exit networks: exits on any module, and invalid taps."""

import pytest
import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet, candidate_taps, stack_levels


class Backbone(nn.Module):
    """Network with a module for every kind of valid and invalid tap."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.twice = nn.Tanh()
        self.pair = _Pair()
        self.names = _Names()
        self.count = _Count()
        self.unused = nn.Linear(8, 8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.first(x)))
        left, right = self.pair(x)
        self.names(x)
        return self.classifier(left + right + self.count(x))


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, 2 * x


class _Names(nn.Module):
    def forward(self, x: Tensor) -> tuple[str, Tensor]:
        return "x", x


class _Count(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[1])


def test_early_exit_net_final_logits_equal_backbone() -> None:
    backbone, x = Backbone(), torch.randn(5, 4)
    early, final = EarlyExitNet(backbone, {"first": nn.Linear(8, 3)})(x)
    assert early.shape == (5, 3)
    assert torch.equal(final, backbone(x))


def test_early_exit_net_exit_reads_tap_output() -> None:
    backbone, head, x = Backbone(), nn.Linear(8, 3), torch.randn(5, 4)
    early, _ = EarlyExitNet(backbone, {"first": head})(x)
    assert torch.equal(early, head(backbone.first(x)))


def test_early_exit_net_tuple_at_tap_exit_reads_first_item() -> None:
    backbone, head, x = Backbone(), nn.Linear(8, 3), torch.randn(5, 4)
    early, _ = EarlyExitNet(backbone, {"pair": head})(x)
    left, _ = backbone.pair(backbone.twice(backbone.twice(backbone.first(x))))
    assert torch.equal(early, head(left))


def test_early_exit_net_backbone_without_logits_raises_usage_error() -> None:
    with pytest.raises(UsageError, match="the backbone returns tuple"):
        EarlyExitNet(_Pair(), {})(torch.randn(5, 4))


def test_early_exit_net_exit_gradient_reaches_layers_before_tap_only() -> None:
    backbone = Backbone()
    early, _ = EarlyExitNet(backbone, {"first": nn.Linear(8, 3)})(torch.randn(5, 4))
    early.sum().backward()
    assert backbone.first.weight.grad is not None
    assert backbone.classifier.weight.grad is None


@pytest.mark.parametrize(
    ("tap", "reason"),
    [
        ("second", "unknown tap 'second'"),
        ("", "unknown tap ''"),
        ("twice", "tap 'twice' runs more than once"),
        ("names", "tap 'names' returns tuple, not one tensor"),
        ("count", "tap 'count' returns torch.int64, not one tensor of floats"),
        ("unused", "tap 'unused' does not run"),
    ],
)
def test_early_exit_net_invalid_tap_raises_usage_error(tap: str, reason: str) -> None:
    backbone = Backbone()
    net = EarlyExitNet(backbone, {tap: nn.Identity()})
    with pytest.raises(UsageError, match=reason):
        net(torch.randn(5, 4))
    assert not any(module._forward_hooks for module in backbone.modules()), "hooks stay behind"


def test_stack_levels_nested_stacks_are_numbered() -> None:
    block = nn.Module()
    block.inner = nn.Sequential(nn.Linear(4, 4))
    backbone = nn.Module()
    backbone.stem, backbone.blocks = nn.Linear(4, 4), nn.ModuleList([block])
    expected = {"stem": 2, "blocks": 2, "blocks.0": 0, "blocks.0.inner": 2, "blocks.0.inner.0": 1}
    assert stack_levels(backbone) == expected


def test_candidate_taps_stacks_at_any_depth_give_their_items() -> None:
    stage = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.ModuleList([Backbone()]))
    backbone = nn.Module()
    backbone.stem, backbone.stage = nn.Linear(4, 4), stage
    assert candidate_taps(backbone) == ("stage.0.0", "stage.0.1", "stage.1.0")
