"""Networks with exits of their own: several outputs of class logits, taken as they are (docs/decisions/0032)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet, ExitOutputs
from eetool.model.exit_flow import ExitFlow, record_flow
from eetool.model.references.outputs import find_outputs
from eetool.model.taps import TapCost
from eetool.model.user_code import user_code


class OwnExitNet(EarlyExitNet):
    """A network whose outputs are its exits.

    Args:
        backbone: the network; it returns the logits of the final exit, as `eetool.model.references.resolve.build` makes
            it do.
        outputs: names of the outputs that are exits, from shallow to deep, the final exit last.
    """

    def __init__(self, backbone: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__(backbone, {})
        self.outputs = tuple(outputs)
        self.taps = own_taps(outputs)

    def forward_outputs(self, *inputs: Tensor) -> ExitOutputs:
        """Return the network's own outputs; none has a learned confidence."""
        with _capture(self.backbone, self.outputs) as logits:
            self.backbone(*inputs)
        return ExitOutputs(tuple(logits), (None,) * len(logits), tuple(logits))

    @property
    def branches(self) -> dict[str, nn.Module]:
        """Nothing: no exit is attached."""
        return {}

    def freeze_backbone(self, *inputs: Tensor) -> None:
        """Let only weights learn that the final exit does not use.

        Raises:
            UsageError: it uses all of them, or none is trainable.
        """
        self.eval()
        with torch.enable_grad():
            final = self.forward(*inputs)[-1]
        weights = [weight for weight in self.backbone.parameters() if weight.requires_grad]
        if not weights:
            raise UsageError("all weights of this network are frozen (requires_grad is False), so none would learn")
        if final.requires_grad:  # else the user has frozen all that it uses
            used = torch.autograd.grad(final.sum(), weights, allow_unused=True)
            for weight, gradient in zip(weights, used, strict=True):
                weight.requires_grad_(gradient is None)
        if not any(weight.requires_grad for weight in weights):
            raise UsageError(
                "the final exit uses every weight of this network, so a frozen backbone leaves nothing to train",
                "Give --recipe joint or distill.",
            )

    def train_exits(self) -> None:
        """Set modules to training mode that have weights of early exits only; all others keep their statistics."""
        self.eval()
        for module in self.backbone.modules():
            weights = list(module.parameters(recurse=False))
            if weights and all(weight.requires_grad for weight in weights):
                module.training = True


def own_taps(outputs: Sequence[str]) -> tuple[str, ...]:
    """Return what stands for the tap of each early exit: the name of the output."""
    return tuple(f"output {name}" for name in outputs[:-1])


def order_exits(
    backbone: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], trusted: bool = False
) -> tuple[str, ...]:
    """Return the outputs `names` from shallow to deep, whatever their order in the return value.

    An exit is deeper where it shares more operations with others. The two deepest share the same; the final exit is
    the one with more MACs and more layers, or with equal MACs the one with more layers or that is computed later.

    Args:
        backbone: the network.
        inputs: its inputs.
        names: names of outputs.
        trusted: the user has named each of them, so that their order decides where MACs and layers contradict.

    Raises:
        UsageError: an output depends on no input, two are parts of one tensor, or their order is not clear.
    """
    flow = _flow(backbone, inputs, names)
    for i, name in enumerate(names):
        if not flow.depends(i):
            raise UsageError(f"the output {name!r} does not depend on the input, so it is no exit", _NAME)
        for j in range(i):
            if flow.ends[i] == flow.ends[j]:
                raise UsageError(f"the outputs {names[j]!r} and {name!r} are one tensor or parts of one", _APART)
    depths = [_depth(flow, i) for i in range(len(names))]
    order = sorted(range(len(names)), key=depths.__getitem__)
    for place in range(len(order) - 1):
        shallow, deep = order[place : place + 2]
        a, b = depths[shallow], depths[deep]
        if a.shared == b.shared and a.macs < b.macs and a.layers >= b.layers:
            if not trusted:
                raise UsageError(
                    f"the outputs {names[shallow]!r} and {names[deep]!r} leave the network at one place, and the one "
                    "with fewer MACs has no fewer layers: it is not clear which is the deeper exit",
                    "Name all exits from shallow to deep as --logits NAME,NAME.",
                )
            order[place : place + 2] = sorted((shallow, deep))
    return tuple(names[i] for i in order)


class _Depth(NamedTuple):
    """Measure of how deep an exit is, compared field by field."""

    shared: tuple[int, int]  # MACs and operations
    macs: int
    layers: int
    position: int


def _depth(flow: ExitFlow, index: int) -> _Depth:
    whole, shared = flow.whole[index], flow.shared(index)
    macs = [operation.macs for operation in flow.operations]
    return _Depth(
        (sum(macs[i] for i in shared), len(shared)), sum(macs[i] for i in whole), flow.layers(index), max(whole)
    )


_NAME = "Name the exits as --logits NAME,NAME."
_APART = "Return a tensor of its own for each exit: none stacked, split or added to in place."


def measure_own_exits(net: OwnExitNet, inputs: tuple[Tensor, ...]) -> list[TapCost]:
    """Return for each early exit the place where its head begins, from shallow to deep.

    The shape is that of the tensor that the head reads, the first where it reads several.
    """
    flow = _flow(net.backbone, inputs, net.outputs)
    macs = flow.macs()
    sizes = {int(x.untyped_storage()._cdata): x.numel() for x in net.backbone.parameters()}
    taps, used = [], set[int]()
    for index, name in enumerate(net.taps):
        for operation, owner in zip(flow.operations, flow.owners, strict=True):
            if owner == (index, False):
                used |= {address for address, _ in operation.reads}
        crossing = list(flow.crossing(index).values())
        shape = crossing[0] if crossing else tuple(inputs[0].shape)
        parameters = sum(sizes.get(address, 0) for address in used)
        taps.append(TapCost(name, shape, sum(macs.trunk[: index + 1]), parameters, max(len(crossing), 1)))
    return taps


def _flow(backbone: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str]) -> ExitFlow:
    def outputs() -> list[list[Tensor]]:
        with _capture(backbone, names) as logits:
            backbone(*inputs)
        return [[x] for x in logits]

    return record_flow(backbone, inputs, outputs)


@contextmanager
def _capture(backbone: nn.Module, names: Sequence[str]) -> Iterator[list[Tensor]]:
    """Collect the outputs `names` of a network that runs inside the block."""
    logits: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, output: Any) -> None:
        logits[:] = find_outputs(output, names, module)

    handle = backbone.register_forward_hook(keep, prepend=True)  # before the hook that returns the final logits
    try:
        with user_code("the network", backbone):
            yield logits
    finally:
        handle.remove()
