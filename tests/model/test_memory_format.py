"""Channels last where a network runs with it."""

import pytest
import torch
from torch import Tensor, nn

from eetool.model.memory_format import choose_memory_format, chosen_memory_format, in_memory_format

IMAGES = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Flattened(nn.Module):
    """Reshapes features by `view`, as networks do that take contiguous tensors alone, or by `flatten`."""

    def __init__(self, views: bool) -> None:
        super().__init__()
        self.conv, self.last, self.views = nn.Conv2d(3, 4, 3), nn.Linear(4 * 4 * 4, 2), views

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x)
        return self.last(features.view(len(x), -1) if self.views else features.flatten(1))


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("views", [False, True])
def test_choose_memory_format_keeps_outputs_and_modes(views: bool) -> None:
    net = Flattened(views).train()
    net.conv.eval()
    with torch.no_grad():
        expected = net(IMAGES)
        order = choose_memory_format(net, IMAGES)
        torch.testing.assert_close(net(in_memory_format(IMAGES, order)), expected)
    assert order == (torch.contiguous_format if views else torch.channels_last)
    assert is_channels_last(net.conv.weight) is not views
    assert net.training
    assert not net.conv.training


def test_chosen_memory_format_leaves_contiguous_weights() -> None:
    net = Flattened(views=False)
    with chosen_memory_format(net, IMAGES) as arrange:
        assert is_channels_last(arrange(IMAGES))
        assert is_channels_last(net.conv.weight)
    assert net.conv.weight.is_contiguous()


def test_in_memory_format_other_inputs_are_unchanged() -> None:
    tokens = torch.zeros(2, 5, dtype=torch.int64)
    assert in_memory_format(tokens, torch.channels_last) is tokens


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "last"), [(4, 1, 2, False), (4, 3, 2, True), (16, 1, 2, True)]
)
def test_choose_memory_format_avoids_gradients_beyond_their_memory(
    channels: int, kernel: int, stride: int, last: bool
) -> None:
    """The first of these ends torch 2.13 with a segmentation fault in its backward pass, with channels last."""
    net = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, kernel, stride))
    order = choose_memory_format(net, IMAGES)
    assert order == (torch.channels_last if last else torch.contiguous_format)
    net(in_memory_format(IMAGES, order)).square().sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in net.parameters() if weight.grad is not None)
