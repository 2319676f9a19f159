"""Gradient scaling: gradients have the weights of the paper, and nothing else changes."""

import torch
from torch import Tensor, nn

from eetool.model.branches import Branch, BranchSpec
from eetool.model.early_exit import EarlyExitNet
from eetool.train.gradient_scaling import scale_gradient, scale_tap_gradients


def net_of_three() -> EarlyExitNet:
    torch.manual_seed(0)
    backbone = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)))
    return EarlyExitNet(backbone, {str(i): Branch(BranchSpec(()), (1, 4), 3) for i in range(2)})


def gradient(net: EarlyExitNet, x: Tensor, exit_index: int) -> Tensor:
    """Return the gradient of the summed logits of one exit in the weights of the first shared layer."""
    net.zero_grad()
    logits = net(x) if exit_index < 2 else (*net(x)[:2], net.backbone(x))
    logits[exit_index].sum().backward()
    weight_gradient = net.backbone[0].weight.grad
    assert weight_gradient is not None
    return weight_gradient.clone()


def test_scale_tap_gradients_shared_layers_get_a_mean_over_exits() -> None:
    net, x = net_of_three(), torch.randn(5, 4)
    plain = [gradient(net, x, i) for i in range(3)]
    outputs = net(x)
    with scale_tap_gradients(net):
        even = [gradient(net, x, i) for i in range(3)]
        assert all(torch.equal(a, b) for a, b in zip(net(x), outputs, strict=True))
    for i, (before, after) in enumerate(zip(plain, even, strict=True)):
        assert torch.allclose(after, before / 3, atol=1e-6), f"exit {i} counts a third"
    assert torch.equal(gradient(net, x, 0), plain[0]), "nothing is left behind"


def test_scale_tap_gradients_heads_keep_their_gradients() -> None:
    net, x = net_of_three(), torch.randn(5, 4)
    net(x)[0].sum().backward()
    plain = net.exits[0].classifier.weight.grad.clone()
    net.zero_grad()
    with scale_tap_gradients(net):
        net(x)[0].sum().backward()
    assert torch.equal(net.exits[0].classifier.weight.grad, plain)


def test_scale_tap_gradients_outputs_are_unchanged() -> None:
    x = torch.ones(3, requires_grad=True)
    y = scale_gradient(x, 0.25)
    assert torch.equal(x, y)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.25] * 3
