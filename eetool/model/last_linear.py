"""The last linear layer of a classifier, whose output is its logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet


def find_last_linear(net: EarlyExitNet, inputs: tuple[Tensor, ...]) -> str | None:
    """Return the name of the linear layer in the backbone whose output is the logits; None without one.

    Args:
        net: the network, whose mode stays.
        inputs: its inputs (n, …), which differ.
    """
    outputs: dict[str, Tensor] = {}

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Tensor) -> None:
            outputs[name] = output

        return hook

    training = net.training
    layers = {name: m for name, m in net.backbone.named_modules() if isinstance(m, nn.Linear)}
    handles = [module.register_forward_hook(hook_for(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            logits = net.eval().forward_outputs(*inputs).logits[-1]
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    same = [name for name, x in outputs.items() if x.shape == logits.shape and torch.equal(x.float(), logits)]
    return same[-1] if same else None


def require_last_linear(net: EarlyExitNet, inputs: tuple[Tensor, ...], where: str) -> str:
    """Return what `find_last_linear` returns.

    Raises:
        UsageError: there is none.
    """
    name = find_last_linear(net, inputs)
    if name is None:
        raise UsageError(
            f"the logits of {where} are not the output of a linear layer, which --new-classifier fits",
            "End its forward with a torch.nn.Linear, or load weights with the same classes.",
        )
    return name


@contextmanager
def without_layer(backbone: nn.Module, name: str) -> Iterator[None]:
    """Let the backbone return the inputs of the layer `name` inside the block."""
    parent, _, last = name.rpartition(".")
    owner, layer = backbone.get_submodule(parent), backbone.get_submodule(name)
    owner._modules[last] = nn.Identity()
    try:
        yield
    finally:
        owner._modules[last] = layer
