"""First module of a network that turns finite numbers into NaN or infinite ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eetool.model.weight_values import is_mask


@dataclass(frozen=True)
class NonFiniteModule:
    """A module that reads finite numbers and gives others.

    Attributes:
        name: its name in the network; empty for the network itself.
        kind: its class.
        counts: such as "3 NaN".
        largest: largest magnitude that it reads.
        before: the inner module that reads the first such numbers, where code between inner modules computes them.
    """

    name: str
    kind: str
    counts: str
    largest: float
    before: str | None = None

    def __str__(self) -> str:
        what = f"the module {self.name!r} ({self.kind})" if self.name else f"the network ({self.kind}) itself"
        where = f" between its inner modules, before {self.before!r}," if self.before else ""
        return f"{what}{where} gives {self.counts} of inputs up to {self.largest:.3g}"


def find_non_finite_module(net: nn.Module, call: Callable[[], object]) -> NonFiniteModule | None:
    """Return the first module of `net` that gives NaN or infinity for finite inputs while `call` runs, or None."""
    found: list[NonFiniteModule] = []
    running: list[tuple[str, nn.Module, float]] = [("", net, 0.0)]

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, named: Any) -> None:
            counts = _counts((arguments, named))
            if counts and not found:
                outer, kind, largest = running[-1]
                found.append(NonFiniteModule(outer, type(kind).__name__, counts, largest, name))
            running.append((name, module, _largest((arguments, named))))

        return hook

    def leave(module: nn.Module, arguments: Any, output: Any) -> None:
        name, _, largest = running.pop()
        counts = _counts(output)
        if counts and not found:
            found.append(NonFiniteModule(name, type(module).__name__, counts, largest))

    handles = []
    for name, module in net.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(enter(name), with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
    try:
        with torch.no_grad():
            output = call()
    finally:
        for handle in handles:
            handle.remove()
    if not found and (counts := _counts(output)):
        return NonFiniteModule("", type(net).__name__, counts, running[0][2])
    return found[0] if found else None


def count_non_finite(tensor: Tensor) -> str:
    """Return such as "3 NaN and 1 infinite value"; empty where all numbers are finite, or −∞ in a mask of attention."""
    if not tensor.is_floating_point():
        return ""
    finite = tensor.isfinite()
    if bool(finite.all()) or is_mask(tensor, finite):
        return ""
    nan = int(tensor.isnan().sum())
    infinite = tensor.numel() - int(finite.sum()) - nan
    parts = [f"{nan} NaN"] * (nan > 0) + [f"{infinite} infinite values"] * (infinite > 0)
    return " and ".join(parts)


def _counts(value: Any) -> str:
    return next((counts for tensor in _tensors(value) if (counts := count_non_finite(tensor))), "")


def _largest(value: Any) -> float:
    sizes = [float(x.detach().abs().max()) for x in _tensors(value) if x.is_floating_point() and x.numel()]
    return max(sizes, default=0.0)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
