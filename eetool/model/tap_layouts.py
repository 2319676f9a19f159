"""Layouts of the features at taps, found by what the network does with them.

The batch is the axis that grows with the number of inputs. The channels are the axis that operators before and behind
the tap take for channels (`eetool.model.axis_rules`). Sizes say nothing: as many channels as rows are common.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.errors import UsageError
from eetool.model.axis_kinds import AxisKinds
from eetool.model.axis_rules import apply_rule
from eetool.model.dataflow import without_fused_layers
from eetool.model.early_exit import find_tap, first_tensor
from eetool.model.layouts import LAYOUTS, check_layout, layout_of_axes
from eetool.model.tensor_axes import Axes, TensorAxes
from eetool.model.user_code import user_code
from eetool.wording import counted


@dataclass(frozen=True)
class FoundLayout:
    """Axes of the features at a tap, as far as the network shows them.

    Attributes:
        shape: their shape for one input.
        batch: the axis that grows with the number of inputs; None where none does, or not by that number.
        channels: the axis of channels; None where it is not clear.
    """

    shape: tuple[int, ...]
    batch: int | None
    channels: int | None

    @property
    def layout(self) -> str | None:
        """The layout; None where it is not clear, or where no exit reads it."""
        if self.batch is None or self.channels is None:
            return None
        return layout_of_axes(len(self.shape), self.batch, self.channels)

    @property
    def possible(self) -> tuple[str, ...]:
        """Layouts with this batch axis."""
        return tuple(x for x in LAYOUTS if len(x) == len(self.shape) and x.index("N") == self.batch)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axes = TensorAxes()
        for tensor in inputs:
            self.axes.give_new(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        apply_rule(self.axes, func, args, kwargs or {}, outputs)
        return outputs


def find_layouts(
    backbone: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str] | None = None
) -> dict[str, FoundLayout]:
    """Find the layouts of module outputs by running the backbone on one input and on two.

    Args:
        backbone: the network.
        inputs: its inputs, of which the first example is used.
        names: the modules; None for all.

    Returns:
        By name, in the order in which they run: modules that run once and return a tensor of float32.

    Raises:
        UsageError: a module of `names` is none of them.
    """
    watched = [name for name, _ in backbone.named_modules(remove_duplicate=False) if name] if names is None else names
    single, double = (tuple(torch.cat([x[:1]] * batch) for x in inputs) for batch in (1, 2))
    tracer = _Tracer(double)
    for_one = _run(backbone, single, watched, nullcontext(), lambda tensor: tuple(tensor.shape))
    for_two = _run(backbone, double, watched, tracer, lambda tensor: (tuple(tensor.shape), tracer.axes.of(tensor)))
    kinds = tracer.axes.kinds
    lost = [name for name in names or () if name not in for_one or name not in for_two]
    if lost:
        raise UsageError(f"tap {lost[0]!r} does not run once, or returns no tensor of float32", "Tap another module.")
    return {name: _found(kinds, for_one[name], *seen) for name, seen in for_two.items() if name in for_one}


def find_other_floats(backbone: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, torch.dtype]:
    """Return the modules whose output no exit reads because a bundle has no such floats, in running order."""
    found: dict[str, torch.dtype] = {}

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and tensor.dtype != torch.float32:
                found.setdefault(name, tensor.dtype)

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in backbone.named_modules() if name]
    try:
        with user_code("the network", backbone), torch.no_grad():
            backbone(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def choose_layouts(found: Mapping[str, FoundLayout], asked: Sequence[str], hint: bool = True) -> tuple[str, ...]:
    """Return the layout at each tap.

    Args:
        found: what the network shows, by tap.
        asked: layouts that the user names, one for all taps or one for each; empty for those found.
        hint: whether the user can name layouts.

    Raises:
        UsageError: a layout is not clear, does not fit, or is none that an exit reads.
    """
    if len(asked) > 1 and len(asked) != len(found):
        raise UsageError(
            f"{len(asked)} layouts for {counted(len(found), 'exit')}", "Give one for all, or one for each."
        )
    named = (tuple(asked) * len(found) if len(asked) == 1 else tuple(asked)) or (None,) * len(found)
    return tuple(_choose(tap, at, layout, hint) for (tap, at), layout in zip(found.items(), named, strict=True))


def _choose(tap: str, found: FoundLayout, asked: str | None, hint: bool) -> str:
    sizes = tuple("N" if i == found.batch else size for i, size in enumerate(found.shape))
    place = f"tap {tap!r}"
    if found.batch is None:
        raise UsageError(
            f"{place} gives features of shape {found.shape} for one input, and no axis of them is the batch alone",
            "Tap another module: an exit needs features of every input apart.",
        )
    if asked is not None:
        check_layout(asked, found.shape, place)
        if asked not in found.possible:
            raise UsageError(
                f"layout {asked} does not fit {place}: the batch is axis {found.batch} of its features",
                f"Layouts with this batch axis: {', '.join(found.possible)}." if found.possible else "Tap another one.",
            )
        return asked
    if found.layout is not None:
        return found.layout
    described = f"({', '.join(map(str, sizes))})"
    if not found.possible or found.channels is not None:
        raise UsageError(f"no exit reads features of shape {described}, which {place} gives", "Tap another module.")
    remedy = f"Give --tap-layout {' or '.join(found.possible)}, or tap another module."
    raise UsageError(
        f"the network does not show which axis of the features {described} at {place} holds the channels",
        remedy if hint else "Tap another module.",
    )


def _run(
    backbone: nn.Module,
    inputs: tuple[Tensor, ...],
    names: Sequence[str],
    inside: AbstractContextManager[Any],
    record: Callable[[Tensor], Any],
) -> dict[str, Any]:
    """Run the backbone in eval mode inside a context; return a record of the tensors of modules that run once."""
    records: dict[str, Any] = {}

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            tensor = None if name in records else first_tensor(output)
            # A bundle has no other floats.
            records[name] = None if tensor is None or tensor.dtype != torch.float32 else record(tensor)

        return hook

    modules = dict(backbone.named_modules(remove_duplicate=False))
    watched = [modules[name] if name in modules else find_tap(backbone, name) for name in names]
    handles = [at.register_forward_hook(hook_for(name)) for name, at in zip(names, watched, strict=True)]
    training = backbone.training
    backbone.eval()
    try:
        with user_code("the network", backbone), torch.no_grad(), without_fused_layers(), inside:
            backbone(*inputs)
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()
    return {name: recorded for name, recorded in records.items() if recorded is not None}


def _found(kinds: AxisKinds, one: tuple[int, ...], two: tuple[int, ...], axes: Axes | None) -> FoundLayout:
    """Return what the shapes for one input and for two show, and the axes for two."""
    grown = [i for i, sizes in enumerate(zip(one, two, strict=False)) if sizes[0] != sizes[1]]
    if len(one) != len(two) or len(grown) != 1 or (one[grown[0]], two[grown[0]]) != (1, 2):
        return FoundLayout(one, None, None)
    batch = grown[0]
    others = [i for i in range(len(one)) if i != batch]
    if len(others) == 1 or axes is None:
        return FoundLayout(one, batch, others[0] if len(others) == 1 else None)
    channels = kinds.channel_axis([axes[i] for i in others])
    return FoundLayout(one, batch, None if channels is None else others[channels])
