"""MACs, shapes and parameters: what a module costs, and where in it exits are worth placing."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eetool.errors import UsageError
from eetool.model.early_exit import candidate_taps, captured


@dataclass(frozen=True)
class Tap:
    """A place where an exit could be attached. MACs and parameters are those of the backbone up to and with it."""

    name: str
    shape: tuple[int, ...]
    macs: int
    parameters: int


def count_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates of one forward pass, by torch's own counter (which knows about groups)."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*inputs)
    return int(counter.get_total_flops()) // 2


def count_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen weights; buffers do not count."""
    return sum(p.numel() for p in module.parameters())


def measure_taps(backbone: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...] | None = None) -> list[Tap]:
    """Every candidate tap in running order, at the batch size of `inputs`; `names` limits them.

    Modules that do not run exactly once, or return something else than one tensor, are left out.
    """
    names = candidate_taps(backbone) if names is None else names
    counter = FlopCounterMode(display=False)
    modules = dict(backbone.named_modules(remove_duplicate=False))
    seen: dict[str, Tap | None] = {}
    used: dict[int, int] = {}

    def count_weights(module: nn.Module, arguments: Any, output: Any) -> None:
        used.update({id(p): p.numel() for p in module.parameters(recurse=False)})

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            fits = isinstance(output, Tensor) and output.is_floating_point() and name not in seen
            macs = int(counter.get_total_flops()) // 2
            seen[name] = Tap(name, tuple(output.shape), macs, sum(used.values())) if fits else None

        return hook

    handles = [module.register_forward_hook(count_weights) for module in modules.values()]
    handles += [modules[name].register_forward_hook(hook_for(name)) for name in names]
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad(), counter:
            backbone(*inputs)
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()
    return [tap for tap in seen.values() if tap is not None]


def order_taps(backbone: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """`names` in running order.

    Raises:
        UsageError: a name stands twice, is no tap, or comes so late that an exit there saves nothing.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"a tap is named twice: {', '.join(names)}", "Name each tap once.")
    with torch.no_grad(), captured(backbone, names):
        backbone(*inputs)
    total = count_macs(backbone, inputs)
    taps = measure_taps(backbone, inputs, names)
    for tap in taps:
        if tap.macs >= total:
            raise UsageError(f"an exit at tap {tap.name!r} saves nothing: all of the backbone has run by then")
    return tuple(tap.name for tap in taps)


def place_exits(taps: list[Tap], total_macs: int, count: int) -> tuple[str, ...]:
    """Names of `count` taps that divide the backbone's MACs into equal parts, as nearly as its blocks allow.

    Raises:
        UsageError: the backbone has fewer places than exits were asked for.
    """
    inner = [tap for tap in taps if tap.macs < total_macs]
    if count > len(inner):
        raise UsageError(f"{count} exits asked for; this backbone has {len(inner)} places", "Ask for fewer exits.")
    chosen: list[int] = []
    for i in range(count):
        target = total_macs * (i + 1) / (count + 1)
        # Leave as many taps behind as there are exits still to place.
        free = range(chosen[-1] + 1 if chosen else 0, len(inner) - (count - i - 1))
        chosen.append(min(free, key=lambda j: (abs(inner[j].macs - target), j)))
    return tuple(inner[j].name for j in chosen)
