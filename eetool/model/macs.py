"""MACs, shapes and parameters: what a module costs, and where in it exits are worth placing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from eetool.errors import UsageError
from eetool.model.dataflow import Dataflow, without_fused_layers
from eetool.model.early_exit import capture_outputs, first_tensor, stack_levels

_FINEST = 2
_NEAR = (0.5, 0.75)  # how far from its due place an exit may be, as a share of a part: gladly, and at most


@dataclass(frozen=True)
class TapCost:
    """A place where an exit could be attached. MACs and parameters are those of the backbone up to and with it.

    `crossing` is the number of activations that a cut there would hand on: 1, or more inside a residual branch.
    `level` is that of `stack_levels`: 0 for the blocks that the backbone is stacked from, more for finer places.
    """

    name: str
    shape: tuple[int, ...]
    macs: int
    parameters: int
    crossing: int = 1
    level: int = 0


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-accumulates of what runs inside the block, by torch's own formulas (which know about groups).

    Torch's own counter cannot be used itself: it follows gradients through modules, which fails where there are none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @property
    def macs(self) -> int:
        """So far."""
        return self.flops // 2

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        formula = _OF_THE_CPU.get(func._overloadpacket) or flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=made))
        return made


def _attention_flops(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))  # type: ignore[no-untyped-call]


def _recurrent_flops(x: Tensor, weight: Tensor, recurrent: Tensor, *_: Any, **__: Any) -> int:
    """Both products of every step; x is (T, N, D)."""
    return 2 * x.shape[0] * x.shape[1] * (weight.numel() + recurrent.numel())


# What torch's registry leaves out: the CPU's implementations.
_OF_THE_CPU: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
}


def count_macs(module: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates of one forward pass: products of matrices, convolutions, attention, recurrent layers."""
    with torch.no_grad(), without_fused_layers(), MacCounter() as counter:
        module(*inputs)
    return int(counter.macs)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen weights; buffers do not count."""
    return sum(p.numel() for p in module.parameters())


def measure_taps(backbone: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str] | None = None) -> list[TapCost]:
    """Taps in running order, at the batch size of `inputs`: those called `names`, or else every good place.

    A module is left out where it does not run exactly once, returns no tensor of floats first, or returns one that is
    not read afterwards or is overwritten in place.
    """
    everything = [name for name, _ in backbone.named_modules(remove_duplicate=False) if name]
    counter, flow = MacCounter(), Dataflow(backbone, inputs)
    seen: dict[str, _Seen | None] = {}
    used: dict[int, int] = {}

    def count_weights(module: nn.Module, arguments: Any, output: Any) -> None:
        used.update({id(p): p.numel() for p in module.parameters(recurse=False)})

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            tensor = first_tensor(output)
            again = name in seen
            seen[name] = None
            if tensor is not None and not again:
                seen[name] = _Seen(tensor, flow.now, counter.macs, sum(used.values()))

        return hook

    watched = everything if names is None else names
    modules = dict(backbone.named_modules(remove_duplicate=False))
    handles = [module.register_forward_hook(count_weights) for module in modules.values()]
    handles += [modules[name].register_forward_hook(hook_for(name)) for name in watched]
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad(), without_fused_layers(), counter, flow:
            backbone(*inputs)
    finally:
        backbone.train(training)
        for handle in handles:
            handle.remove()
    levels = stack_levels(backbone)
    taps = []
    for name, at in seen.items():
        crossing = flow.crossing(at.tensor, at.moment) if at is not None else None
        if at is not None and (names is not None or (crossing is not None and _is_feature(at.tensor, inputs))):
            taps.append(TapCost(name, tuple(at.tensor.shape), at.macs, at.parameters, crossing or 1, levels[name]))
    return taps


def _is_feature(tensor: Tensor, inputs: tuple[Tensor, ...]) -> bool:
    """Whether a branch could read it: 2 to 4 dimensions, of which the first is the batch."""
    return tensor.ndim in (2, 3, 4) and tensor.shape[0] == inputs[0].shape[0]


@dataclass(frozen=True)
class _Seen:
    """A module's output, and what was spent when it came."""

    tensor: Tensor
    moment: int
    macs: int
    parameters: int


def order_taps(backbone: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """`names` in running order.

    Raises:
        UsageError: a name stands twice, is no tap, or comes so late that an exit there saves nothing.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"a tap is named twice: {', '.join(names)}", "Name each tap once.")
    with torch.no_grad(), capture_outputs(backbone, names) as features:
        backbone(*inputs)
    for name in names:
        shape = tuple(features[name].shape)
        if not _is_feature(features[name], inputs):
            raise UsageError(
                f"tap {name!r} gives features of shape {shape}; an exit reads (N, …)", "Tap another module."
            )
    total = count_macs(backbone, inputs)
    taps = measure_taps(backbone, inputs, names)
    for tap in taps:
        if tap.macs >= total:
            raise UsageError(f"an exit at tap {tap.name!r} saves nothing: all of the backbone has run by then")
    return tuple(tap.name for tap in taps)


def listed_taps(taps: Sequence[TapCost]) -> list[TapCost]:
    """The good places among `taps` that are worth showing: blocks, and finer places where there are few of them."""
    fewest = min((tap.crossing for tap in taps), default=0)
    clean = [tap for tap in taps if tap.crossing == fewest]
    blocks = _distinct([tap for tap in clean if tap.level < _FINEST])
    return blocks if len(blocks) > 2 else _distinct(clean)


def place_exits(taps: Sequence[TapCost], total_macs: int, count: int) -> tuple[str, ...]:
    """Names of `count` taps that divide the backbone's MACs into equal parts, as nearly as its blocks allow.

    Blocks between which one tensor crosses are taken where they put every exit near its due place; otherwise finer
    places are looked at, and only then those where more tensors cross.

    Raises:
        UsageError: the backbone has fewer places than exits were asked for.
    """
    inner = [tap for tap in taps if tap.macs < total_macs]
    limits = [(c, level) for c in sorted({t.crossing for t in inner}) for level in sorted({t.level for t in inner})]
    pools = {(c, level): _distinct([t for t in inner if t.crossing <= c and t.level <= level]) for c, level in limits}
    part = total_macs / (count + 1)
    targets = [part * (i + 1) for i in range(count)]
    placed = {limit: _place(pool, targets) for limit, pool in pools.items() if len(pool) >= count}
    if count and not placed:
        places = max(map(len, pools.values()), default=0)
        raise UsageError(f"{count} exits asked for; this backbone has {places} places", "Ask for fewer exits.")

    def is_near(taps: list[TapCost], share: float) -> bool:
        return all(abs(tap.macs - target) <= share * part for tap, target in zip(taps, targets, strict=True))

    # By crossing first, then by how near, then by level: finer places are better than more tensors.
    order = sorted(((c, share, level) for c, level in placed for share in _NEAR))
    chosen = next((placed[c, level] for c, share, level in order if is_near(placed[c, level], share)), None)
    if chosen is None:
        chosen = next(iter(placed.values()), [])
    return tuple(tap.name for tap in chosen)


def _place(taps: list[TapCost], targets: list[float]) -> list[TapCost]:
    """For each target, from shallow to deep, the nearest tap that leaves enough of them for the others."""
    chosen: list[int] = []
    for i, target in enumerate(targets):
        free = range(chosen[-1] + 1 if chosen else 0, len(taps) - (len(targets) - i - 1))
        chosen.append(min(free, key=lambda j: (abs(taps[j].macs - target), j)))
    return [taps[j] for j in chosen]


def _distinct(taps: Sequence[TapCost]) -> list[TapCost]:
    """Of taps without MACs between them the last: after the activation and the pooling."""
    return [tap for i, tap in enumerate(taps) if i + 1 == len(taps) or taps[i + 1].macs > tap.macs]
