"""Memory format of images and weights: channels last where a network runs with it, which is faster on processors.

Networks that reshape features by `view` run with contiguous tensors alone. So do those with a 1×1 convolution of few
channels with a stride: with channels last its gradient writes beyond its memory (torch 2.13 on a processor).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_IMAGE_AXES = 4
_FEW_CHANNELS = 8  # per group; seen with 2 to 6


def set_memory_format(net: nn.Module, order: torch.memory_format) -> None:
    """Set the memory format of a network's weights."""
    net.to(memory_format=order)  # type: ignore[call-overload]  # torch's own stubs leave this form out


def in_memory_format(inputs: Tensor, order: torch.memory_format) -> Tensor:
    """Return images (N, C, H, W) in a memory format, and other inputs as they are."""
    return inputs.contiguous(memory_format=order) if inputs.ndim == _IMAGE_AXES else inputs


def choose_memory_format(
    net: nn.Module, *inputs: Tensor, run: Callable[..., object] | None = None
) -> torch.memory_format:
    """Set the weights to channels last where the network runs with it, and return the format for its images.

    Args:
        net: the network; it runs once in evaluation mode, and its own mode stays.
        inputs: an example of its inputs (n, …).
        run: runs the part of the network that is used, where that is not all of it.
    """
    if any(map(_overruns, net.modules())):
        set_memory_format(net, torch.contiguous_format)
        return torch.contiguous_format
    modes = {module: module.training for module in net.modules()}
    set_memory_format(net, torch.channels_last)
    try:
        with torch.no_grad():
            net.eval()
            (run or net)(*(in_memory_format(x, torch.channels_last) for x in inputs))
        return torch.channels_last
    except Exception:  # whatever the network's code raises; its next run shows an error that has another cause
        set_memory_format(net, torch.contiguous_format)
        return torch.contiguous_format
    finally:
        for module, training in modes.items():
            module.training = training


def _overruns(module: nn.Module) -> bool:
    """Return whether the gradient of a module is unsafe with channels last."""
    if not isinstance(module, nn.Conv2d):
        return False
    few = module.in_channels // module.groups < _FEW_CHANNELS
    return few and module.kernel_size == (1, 1) and max(module.stride) > 1


@contextmanager
def chosen_memory_format(
    net: nn.Module, *inputs: Tensor, run: Callable[..., object] | None = None
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Choose the memory format for the block, and yield the function that brings inputs to it."""
    order = choose_memory_format(net, *inputs, run=run)
    try:
        yield lambda x: in_memory_format(x, order)
    finally:
        set_memory_format(net, torch.contiguous_format)
