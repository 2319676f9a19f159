"""A copy of a network to try things on, and how far rounding alone may move its answers."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.errors import ArtefactError, UsageError
from eetool.model.code_place import frames_of, module_names, place_of
from eetool.model.dataflow import without_fused_layers
from eetool.model.early_exit import EarlyExitNet
from eetool.model.references.reference import first_line

Inputs = tuple[Tensor, ...]

_SMALL = 1e-2  # a weight tensor whose values are all below this hides what stands behind it
# Change of every weight, as a share of it, by which the effect of rounding is measured; and a share of the largest
# answer that counts as rounding in any case.
_ROUNDING = {
    torch.float64: (2.0**-40, 1e-12),
    torch.float32: (2.0**-19, 1e-6),
    torch.float16: (2.0**-9, 1e-3),
    torch.bfloat16: (2.0**-6, 1e-2),
}
_SAFETY = 4.0


class BatchSizeError(Exception):
    """A network does not run, or does not answer every input, at a batch size that it has to run at."""

    def __init__(self, batch: int, net: nn.Module, error: Exception | None) -> None:
        where = "" if error is None else place_of(module_names(net), frames_of(error)) + f": {first_line(error)}"
        super().__init__(f"it does not run at a batch of {batch}{where}")


class NetworkCopy:
    """Copy of an early-exit network in eval mode, in 64-bit floats where it runs in them.

    Attributes:
        net: the copy.
        dtype: float64, or float32 where any operation of the network computes in less.
        precision: the coarsest floats that any operation computes in.
    """

    def __init__(self, net: EarlyExitNet, inputs: Inputs, fresh: bool) -> None:
        """Copy `net`.

        Args:
            net: the network, which is left as it is.
            inputs: inputs that it runs on.
            fresh: its weights are initial values, of which those near zero are replaced. A gate or a gain that begins
                at zero would hide the branch behind it, which training opens.
        """
        self.net, self.dtype = net, torch.float32
        with suppress(Exception):  # a module may hold anything; without a copy it is tried itself, as it is
            self.net = copy.deepcopy(net)
            if fresh:
                _replace_small_weights(self.net)
            double = copy.deepcopy(self.net).double()
            if _coarsest_type(double, _converted(inputs, torch.float64)) == torch.float64:
                self.net, self.dtype = double, torch.float64
        self.precision = self.dtype if self.dtype == torch.float64 else _coarsest_type(self.net, inputs)

    def answers(self, inputs: Inputs) -> list[Tensor]:
        """Return logits (N, classes) of every exit, then the outputs (N,) of confidence heads, in 64-bit floats.

        Raises:
            BatchSizeError: the network does not run at this batch size.
        """
        try:
            answers = _forward(self.net, _converted(inputs, self.dtype))
        except UsageError:  # of a tap
            raise
        except ArtefactError as error:  # of the network's own code
            cause = error.__cause__
            raise BatchSizeError(len(inputs[0]), self.net, cause if isinstance(cause, Exception) else error) from error
        if any(len(x) != len(inputs[0]) for x in answers):
            raise BatchSizeError(len(inputs[0]), self.net, None)
        return [x.double() for x in answers]

    @property
    def least(self) -> float:
        """Share of the largest answer that counts as rounding in any case."""
        return _ROUNDING[self.precision][1]

    def exit_of(self, output: int) -> int:
        """Return the exit of an item of `answers`."""
        n_exits = len(self.net.taps) + 1
        return output if output < n_exits else output - n_exits

    def rounding(self, inputs: Inputs) -> list[float]:
        """Return the largest change of each of the answers that rounding may cause.

        It is measured: every weight is moved by a few units of the last place.
        """
        step = _ROUNDING[self.precision][0]
        before = self.answers(inputs)
        generator = torch.Generator().manual_seed(0)
        with _restored(self.net), torch.no_grad():
            for weight in _float_weights(self.net):
                weight.mul_(1 + step * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
            after = self.answers(inputs)
        pairs = zip(after, before, strict=True)
        return [_SAFETY * largest_difference(a, b) + self.least * largest(b) for a, b in pairs]


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference; infinity where one side alone is not finite."""
    differ = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).nan_to_num(math.inf, math.inf)
    return float(differ.max()) if differ.numel() else 0.0


def largest(tensor: Tensor) -> float:
    """Return the largest finite magnitude."""
    return float(tensor.nan_to_num(0.0, 0.0, 0.0).abs().max()) if tensor.numel() else 0.0


def without_small_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, and random values instead of weights that are all near zero."""
    generator = torch.Generator().manual_seed(0)
    result = dict(state)
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.numel() and float(tensor.abs().max()) < _SMALL:
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 4
            result[name] = (torch.randn(tensor.shape, generator=generator) / math.sqrt(fan_in)).to(tensor.dtype)
    return result


def rows_of(inputs: Inputs, indices: Sequence[int]) -> Inputs:
    """Return the rows at `indices` of all inputs, in this order and as often."""
    return tuple(x[list(indices)] for x in inputs)


def with_padded_row(samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the first row once more with zeros in its second half, as a short text or wave has; masks stay."""
    result = {}
    for name, tensor in samples.items():
        short = tensor[:1].clone()
        if tensor.ndim > 1 and "mask" not in name:
            short[..., (tensor.shape[-1] + 1) // 2 :] = 0
        result[name] = torch.cat([tensor, short])
    return result


def _forward(net: EarlyExitNet, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad(), without_fused_layers():
        net.eval()
        logits, learned = net.forward_with_confidence(*(x.clone() for x in inputs))
    return [*logits, *(x for x in learned if x is not None)]


def _converted(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)


def _float_weights(net: nn.Module) -> list[Tensor]:
    return [p for p in net.parameters() if p.is_floating_point() and p.numel()]


def _replace_small_weights(net: nn.Module) -> None:
    with torch.no_grad():
        weights = {name: weight for name, weight in net.named_parameters() if weight.is_floating_point()}
        for name, value in without_small_weights(weights).items():
            weights[name].copy_(value)


@contextmanager
def _restored(net: nn.Module) -> Iterator[None]:
    """Give the weights their values back at the end of the block."""
    kept = [(weight, weight.clone()) for weight in _float_weights(net)]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in kept:
                weight.copy_(value)


def _coarsest_type(net: EarlyExitNet, inputs: Inputs) -> torch.dtype:
    """Return the coarsest floats that an operation of the network returns; float32 where it does not run."""
    with suppress(Exception), _FloatTypes() as used:  # whoever asks for answers next gets the error
        _forward(net, inputs)
        return max(used.types & _ROUNDING.keys(), key=lambda dtype: torch.finfo(dtype).eps, default=torch.float32)
    return torch.float32


class _FloatTypes(TorchDispatchMode):
    """Recorder of the floating types that operations return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        leaves = [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)]
        self.types.update(x.dtype for x in leaves if x.is_floating_point())
        return outputs
