"""The first operation of a forward pass that computes something else than in another pass of the same network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.model.code_place import module_names, place_of, running_frames
from eetool.model.network_check.network_copy import largest, largest_difference

_RELATIVE = {torch.float64: 1e-8}  # of the largest value of a tensor; else that of float32
_RELATIVE_FLOAT32 = 1e-4
_COPIES = ("clone", "contiguous")  # made or not, as the strides of a batch are
_VIEWS = ("unsafe_view", "reshape", "reshape_alias", "reshape_copy")


@dataclass(frozen=True)
class RowInBatch:
    """Position of one input in a batch of `size`."""

    position: int
    size: int


def first_divergence(
    net: nn.Module, first: Callable[[], Any], second: Callable[[], Any], row: RowInBatch | None = None
) -> str:
    """Return the first operation of `second` that computes something else than in `first`, and its place in `net`.

    Args:
        net: the network.
        first: runs it.
        second: runs it again, on the same inputs, or on a batch that contains the one input of `first`.
        row: where `second` is a batch, the position of the input of `first` in it.

    Returns:
        Words such as `log_softmax in head (Head), networks.py:12`; empty where no operation differs, for example
        because scripted code runs that is out of sight.
    """
    recorder = _Recorder()
    with recorder:
        first()
    comparer = _Comparer(recorder.steps, module_names(net), row)
    try:
        with comparer:
            second()
    except _FoundError as found:
        return found.place
    return ""


class _FoundError(BaseException):  # so that no handler of the user's forward takes it for its own error
    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class _Recorder(TorchDispatchMode):
    """Recorder of all operations and their results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[tuple[str, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        name = operator_name(func)
        if name not in _COPIES:
            self.steps.append((name, [x.clone() for x in _floats(name, outputs)]))
        return outputs


class _Comparer(TorchDispatchMode):
    """Comparison of every operation with the recorded one; ends the pass at the first that differs."""

    def __init__(self, steps: list[tuple[str, list[Tensor]]], names: dict[int, str], row: RowInBatch | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps, self.names, self.row = iter(steps), names, row

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        name = operator_name(func)
        if name in _COPIES:
            return outputs
        before, expected = next(self.steps, ("", []))
        found = _floats(name, outputs)
        if before != name or len(found) != len(expected):
            raise _FoundError(f"{name}{place_of(self.names, running_frames())}, which runs in one case only")
        if self.row is not None and not any(isinstance(x, Tensor) for x in pytree.tree_leaves((args, kwargs))):
            return outputs  # made of sizes alone, such as the numbers of the rows
        if any(not _equal(a, b, self.row) for a, b in zip(found, expected, strict=True)):
            raise _FoundError(name + place_of(self.names, running_frames()))
        return outputs


def operator_name(func: Any) -> str:
    """Return the name of an operator of torch as a user knows it, such as `log_softmax`."""
    name = str(func).partition(".")[2].partition(".")[0].strip("_")
    return "view" if name in _VIEWS else name


def _floats(name: str, outputs: Any) -> list[Tensor]:
    """Return the float results of an operation; uninitialised memory holds any numbers."""
    if "empty" in name:
        return []
    return [x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor) and x.is_floating_point()]


def _equal(found: Tensor, expected: Tensor, row: RowInBatch | None) -> bool:
    limit = _RELATIVE.get(expected.dtype, _RELATIVE_FLOAT32)
    return any(largest_difference(x, expected) <= limit * largest(expected) for x in _parts(found, expected, row))


def _parts(found: Tensor, expected: Tensor, row: RowInBatch | None) -> Iterator[Tensor]:
    """Yield the parts of a batch's tensor that may belong to one row, for every way to fold a batch into a dimension.

    Where two dimensions grow with the batch, as for a matrix of all pairs of rows, there is none.
    """
    grown = [i for i, (a, b) in enumerate(zip(found.shape, expected.shape, strict=False)) if a != b]
    if found.ndim != expected.ndim:
        return
    if row is None or not grown:
        if not grown:
            yield found
        return
    size = expected.shape[grown[0]]
    if len(grown) > 1:
        return
    if found.shape[grown[0]] != size * row.size:
        yield expected  # a size of another kind: nothing can be said
        return
    yield found.narrow(grown[0], row.position * size, size)
    yield found.index_select(grown[0], torch.arange(row.position, size * row.size, row.size))
