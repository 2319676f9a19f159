"""Gradient scaling: exits do not dominate the layers that they share.

Without it the gradient at a layer grows with the number of exits behind it. At the tap of exit i, let k be the number
of exits from there on, this one included. The exit's own gradient has the weight 1/k, that of all deeper ones
(k − 1)/k. So shared layers get a mean over exits and not a sum (gradient equilibrium, Li et al., arXiv 1908.06294).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet, find_tap


@contextmanager
def scale_tap_gradients(net: EarlyExitNet) -> Iterator[None]:
    """Scale gradients at every tap of `net` inside the block. Outputs do not change."""
    handles = []
    for index, (tap, head) in enumerate(zip(net.taps, net.exits, strict=True)):
        ahead = len(net.taps) + 1 - index
        handles.append(find_tap(net.backbone, tap).register_forward_hook(_deeper((ahead - 1) / ahead, tap)))
        # The gradient of the exit passes through the scale of the tap as well.
        handles.append(_before(head, 1 / (ahead - 1)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return `x` with the same values and gradients that are multiplied by `factor`."""
    if not x.requires_grad:
        return x
    view = x.view_as(x)
    view.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    return view


def _deeper(factor: float, tap: str) -> Any:
    def hook(module: Any, arguments: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise UsageError(f"tap {tap!r} returns no tensor, so its gradient cannot be scaled", "Tap another module.")
        return scale_gradient(output, factor)

    return hook


def _before(head: Any, factor: float) -> Any:
    """Scale the gradient of a head. Its `answer` is called without the hooks of `forward`, so a layer has the hook."""
    first = head.layers if hasattr(head, "layers") else head
    return first.register_forward_pre_hook(lambda module, inputs: (scale_gradient(inputs[0], factor), *inputs[1:]))
