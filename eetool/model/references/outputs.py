"""Outputs of a network by name.

A network may return one tensor, or a tuple, list, dict, dataclass or output of a library with tensors at any depth. The
name of a tensor is its path there: `logits`, `0`, `logits.1`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.errors import UsageError

LOGITS = "logits"
_MAX_DEPTH = 6
_MAX_LISTED = 12
_SUM_TOLERANCE = 0.01  # of probabilities in half precision
_SIGMOIDS = ("sigmoid", "sigmoid_", "hardsigmoid", "hardsigmoid_")
SAME_OUTPUTS = "Its forward must return the same outputs in training and in evaluation mode."


@dataclass(frozen=True)
class NetworkOutput:
    """A tensor among the outputs of a network. Its name is empty where the network returns it alone.

    `from_sigmoid` is True where the network has computed it by a sigmoid.
    """

    name: str
    tensor: Tensor
    from_sigmoid: bool = False

    def is_class_scores(self, batch: int, classes: int | None) -> bool:
        """Return whether it is floats (N, classes); any number of classes from 2 where `classes` is None."""
        shape = tuple(self.tensor.shape)
        fits = len(shape) == 2 and shape[0] == batch and shape[1] == (classes or max(shape[1], 2))
        return fits and self.tensor.is_floating_point()

    @property
    def is_probabilities(self) -> bool:
        """True where it comes from a sigmoid, or where rows (N, classes) have no negative number and the sum 1."""
        rows = self.tensor.detach().float()
        if self.from_sigmoid:
            return True
        return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < _SUM_TOLERANCE).all())


def list_outputs(value: Any) -> list[NetworkOutput]:
    """Return every tensor of a network's return value with its name, in order."""
    return [NetworkOutput(name, tensor) for name, tensor in _walk(value, "", 0)]


def find_output(value: Any, name: str) -> Tensor | None:
    """Return the output called `name`, or the one tensor that the network returns instead in this mode."""
    if isinstance(value, Tensor):
        return value
    return next((output.tensor for output in list_outputs(value) if output.name == name), None)


def find_outputs(value: Any, names: Sequence[str], network: nn.Module) -> list[Tensor]:
    """Return the outputs called `names` of a network.

    Raises:
        UsageError: the network does not return one of them.
    """
    found = {output.name: output.tensor for output in list_outputs(value)}
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"the network returns no output {missing[0]!r}", SAME_OUTPUTS)
    return [as_float32(found[name], network) for name in names]


def as_float32(logits: Tensor, network: nn.Module) -> Tensor:
    """Return logits in the only float type of a bundle; what is no float stays as it is.

    So do those of a network in float64: networks have weights of float32, except for copies that checks run.
    """
    weight = next(network.parameters(), logits)
    if weight.dtype == torch.float64 and weight is not logits:
        return logits
    return logits.float() if logits.is_floating_point() and logits.dtype != torch.float32 else logits


def run_outputs(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[NetworkOutput] | None:
    """Run a network in its present mode and return its outputs, or None where it fails."""
    recorder = _SigmoidRecorder()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), recorder:
            value = module(*(x.clone() for x in inputs))
    except (Exception, SystemExit):  # the user's code can raise anything
        return None
    pairs = _walk(value, "", 0)
    return [NetworkOutput(name, x, int(x.untyped_storage()._cdata) in recorder.storages) for name, x in pairs]


def _walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif depth < _MAX_DEPTH:
        for key, item in _items(value):
            yield from _walk(item, f"{name}.{key}" if name else str(key), depth + 1)


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):  # also the outputs of transformers
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if hasattr(value, LOGITS) and not isinstance(value, nn.Module):
        return list({LOGITS: value.logits, **getattr(value, "__dict__", {})}.items())
    return []


class _SigmoidRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of the storages that sigmoids have written."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: dict[int, Any] = {}  # kept alive, so that no address is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func._overloadpacket.__name__ in _SIGMOIDS:
            storage = output.untyped_storage()
            self.storages[int(storage._cdata)] = storage
        return output


def list_names(outputs: Sequence[NetworkOutput]) -> str:
    """Return names and shapes of outputs on one line."""
    parts = [f"{x.name or 'the output'} {shape_text(x)}" for x in outputs[:_MAX_LISTED]]
    more = f" and {len(outputs) - _MAX_LISTED} more" if len(outputs) > _MAX_LISTED else ""
    return (", ".join(parts) or "no tensor") + more


def shape_text(output: NetworkOutput) -> str:
    """Return the shape of an output, with what is unusual about it."""
    tensor = output.tensor
    parts = ["x".join(map(str, tensor.shape)) or "a single number"]
    if tensor.dtype != torch.float32:
        parts.append(str(tensor.dtype).removeprefix("torch."))
    if tensor.ndim == 2 and tensor.is_floating_point() and output.is_probabilities:
        parts.append("probabilities")
    return f"({', '.join(parts)})"
