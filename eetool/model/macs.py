"""Multiply-accumulates (MACs) and parameters of a module."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from eetool.model.dataflow import without_fused_layers
from eetool.model.user_code import user_code


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counter of the multiply-accumulates inside a block, by torch's own formulas, which handle grouped convolutions.

    Torch's own counter cannot be used: it follows gradients through modules, and fails where there are none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates counted so far."""
        return self.flops // 2

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        formula = _CPU_FORMULAS.get(func._overloadpacket) or flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=output))
        return output


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _recurrent_flops(x: Tensor, weight: Tensor, recurrent: Tensor, *_: Any, **__: Any) -> int:
    """Return the FLOPs of both products of every step; x is (T, N, D)."""
    return 2 * x.shape[0] * x.shape[1] * (weight.numel() + recurrent.numel())


# CPU implementations that torch's registry lacks.
_CPU_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
}


def count_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Count the MACs of one forward pass: matrix products, convolutions, attention and recurrent layers."""
    with user_code("the network", module), torch.no_grad(), without_fused_layers(), MacCounter() as counter:
        module(*inputs)
    return int(counter.macs)


def count_parameters(module: nn.Module) -> int:
    """Count trainable and frozen parameters, without buffers."""
    return sum(p.numel() for p in module.parameters())
