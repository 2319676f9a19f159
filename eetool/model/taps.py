"""Taps: the places of a backbone where exits can be attached, their cost, and the placement of exits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from eetool.errors import UsageError
from eetool.model.dataflow import Dataflow, without_fused_layers
from eetool.model.early_exit import capture_outputs, first_tensor, stack_levels
from eetool.model.macs import MacCounter, count_macs
from eetool.model.tap_layouts import find_layouts
from eetool.model.user_code import user_code

_FINEST = 2
_PLACE = (
    "Ask for fewer exits. A place is a module that runs once and whose output, (N, …) in float32, is read afterwards."
)
# Distance of an exit from its target, as a share of the MACs between two targets: preferred limit, and largest one.
_TOLERANCES = (0.5, 0.75)


@dataclass(frozen=True)
class TapCost:
    """A place where an exit can be attached.

    Attributes:
        name: dotted name of the module.
        shape: shape of its output.
        macs: multiply-accumulates of the backbone up to and including this module.
        parameters: parameters of the backbone up to and including this module.
        crossing: number of activations that cross a cut there: 1, or more inside a residual branch.
        level: stack level as in `stack_levels`: 0 for the blocks of the outermost stacks, more for finer places.
        layout: order of the axes of its output, such as NCHW; None where it was not asked for.
    """

    name: str
    shape: tuple[int, ...]
    macs: int
    parameters: int
    crossing: int = 1
    level: int = 0
    layout: str | None = None


@dataclass(frozen=True)
class _Snapshot:
    """A module's output, and the state of the counters when it was produced."""

    tensor: Tensor
    moment: int
    macs: int
    parameters: int


def measure_taps(backbone: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str] | None = None) -> list[TapCost]:
    """Measure the taps of a backbone at the batch size of `inputs`.

    A module is left out where it does not run exactly once, returns no float tensor first, or returns one that is not
    read afterwards or is overwritten in place.

    Args:
        backbone: the network.
        inputs: its inputs.
        names: modules to measure; None for every one with features that an exit reads, and with their layout.

    Returns:
        Taps in the order in which they run.
    """
    modules = dict(backbone.named_modules(remove_duplicate=False))
    layouts = {}
    if names is None:
        found = find_layouts(backbone, inputs)
        layouts = {
            name: at.layout
            for name, at in found.items()
            if at.layout is not None and not isinstance(modules[name], _DropoutNd)  # the layer before it is the same
        }
    flow, snapshots = _run_with_hooks(backbone, inputs, modules, tuple(layouts) if names is None else names)
    levels = stack_levels(backbone)
    taps = []
    for name, at in snapshots.items():
        crossing = flow.crossing(at.tensor, at.moment) if at is not None else None
        if at is not None and (names is not None or crossing is not None):
            costs = (at.macs, at.parameters, crossing or 1, levels[name])
            taps.append(TapCost(name, tuple(at.tensor.shape), *costs, layouts.get(name)))
    return taps


def _run_with_hooks(
    backbone: nn.Module, inputs: tuple[Tensor, ...], modules: dict[str, nn.Module], watched: Sequence[str]
) -> tuple[Dataflow, dict[str, _Snapshot | None]]:
    """Run the backbone once in eval mode.

    Returns:
        The dataflow, and a snapshot per watched module that ran; None where it cannot be a tap.
    """
    counter, flow = MacCounter(), Dataflow(backbone, inputs)
    snapshots: dict[str, _Snapshot | None] = {}
    parameters: dict[int, int] = {}  # used so far: id to size

    def count_parameters(module: nn.Module, arguments: Any, output: Any) -> None:
        parameters.update({id(p): p.numel() for p in module.parameters(recurse=False)})

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            tensor = first_tensor(output)
            again = name in snapshots
            snapshots[name] = None
            if tensor is not None and not again:
                snapshots[name] = _Snapshot(tensor, flow.now, counter.macs, sum(parameters.values()))

        return hook

    handles = [module.register_forward_hook(count_parameters) for module in modules.values()]
    handles += [modules[name].register_forward_hook(hook_for(name)) for name in watched]
    training = backbone.training
    backbone.eval()
    try:
        with user_code("the network", backbone), torch.no_grad(), without_fused_layers(), counter, flow:
            backbone(*inputs)
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()
    return flow, snapshots


def order_taps(backbone: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort tap names by the order in which they run.

    Raises:
        UsageError: a name is given twice, is no tap, or comes so late that an exit there saves nothing.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"a tap is named twice: {', '.join(names)}", "Name each tap once.")
    with torch.no_grad(), capture_outputs(backbone, names):
        backbone(*inputs)
    total = count_macs(backbone, inputs)
    taps = measure_taps(backbone, inputs, names)
    for tap in taps:
        if tap.macs >= total:
            raise UsageError(f"an exit at tap {tap.name!r} saves nothing: all of the backbone has run by then")
    return tuple(tap.name for tap in taps)


def listed_taps(taps: Sequence[TapCost]) -> list[TapCost]:
    """Select the taps to show to a user: blocks, and finer places where there are few blocks."""
    fewest = min((tap.crossing for tap in taps), default=0)
    clean = [tap for tap in taps if tap.crossing == fewest]
    blocks = _distinct([tap for tap in clean if tap.level < _FINEST])
    return blocks if len(blocks) > 2 else _distinct(clean)


def finer_taps(taps: Sequence[TapCost]) -> list[TapCost]:
    """Return the other taps where `place_exits` may put exits: inside blocks, where these alone do not serve."""
    listed = {tap.macs for tap in listed_taps(taps)}
    return [tap for tap in _distinct(taps) if tap.macs not in listed]


def place_exits(taps: Sequence[TapCost], total_macs: int, count: int) -> tuple[str, ...]:
    """Place `count` exits so that they divide the backbone's MACs into parts as equal as its blocks allow.

    Taps with one crossing tensor are used where they put every exit near its target. Otherwise finer places are
    tried, and after them places with more crossing tensors.

    Returns:
        Names of taps, from shallow to deep.

    Raises:
        UsageError: the backbone has fewer places than exits.
    """
    inner = [tap for tap in taps if tap.macs < total_macs]
    limits = [(c, level) for c in sorted({t.crossing for t in inner}) for level in sorted({t.level for t in inner})]
    pools = {(c, level): _distinct([t for t in inner if t.crossing <= c and t.level <= level]) for c, level in limits}
    part = total_macs / (count + 1)
    targets = [part * (i + 1) for i in range(count)]
    placed = {limit: _place(pool, targets) for limit, pool in pools.items() if len(pool) >= count}
    if count and not placed:
        places = max(map(len, pools.values()), default=0)
        raise UsageError(f"{count} exits asked for; this backbone has {places} places", _PLACE)

    def is_near(taps: list[TapCost], tolerance: float) -> bool:
        return all(abs(tap.macs - target) <= tolerance * part for tap, target in zip(taps, targets, strict=True))

    # By crossing, then by tolerance, then by level: finer places are better than more crossing tensors.
    order = sorted(((c, tolerance, level) for c, level in placed for tolerance in _TOLERANCES))
    near = (placed[c, level] for c, tolerance, level in order if is_near(placed[c, level], tolerance))
    chosen = next(near, None)
    if chosen is None:
        chosen = next(iter(placed.values()), [])
    return tuple(tap.name for tap in chosen)


def _place(taps: list[TapCost], targets: list[float]) -> list[TapCost]:
    """For each target, from shallow to deep, take the nearest tap that leaves enough taps for the other targets."""
    chosen: list[int] = []
    for i, target in enumerate(targets):
        free = range(chosen[-1] + 1 if chosen else 0, len(taps) - (len(targets) - i - 1))
        chosen.append(min(free, key=lambda j: (abs(taps[j].macs - target), j)))
    return [taps[j] for j in chosen]


def _distinct(taps: Sequence[TapCost]) -> list[TapCost]:
    """Return the last of each run of taps without MACs between them: after the activation and the pooling."""
    return [tap for i, tap in enumerate(taps) if i + 1 == len(taps) or taps[i + 1].macs > tap.macs]
