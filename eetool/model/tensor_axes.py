"""Axes of the tensors of a forward pass, and what operators know about them in common."""

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from eetool.model.axis_kinds import AxisKinds

Axes = tuple[int, ...]


class TensorAxes:
    """Axes of every tensor that depends on an input, as long as the network holds it."""

    def __init__(self) -> None:
        self.kinds = AxisKinds()
        # By identity, because tensors compare element by element.
        self._axes: MutableMapping[Tensor, Axes] = WeakIdKeyDictionary()

    def of(self, tensor: Any) -> Axes | None:
        """Return the axes of a tensor; None where no input decides its values."""
        return self._axes.get(tensor) if isinstance(tensor, Tensor) else None

    def all_of(self, tensors: Iterable[Any]) -> list[Axes]:
        """Return the axes of those tensors whose values an input decides."""
        return [axes for axes in map(self.of, tensors) if axes is not None]

    def give(self, tensor: Tensor, axes: Sequence[int]) -> None:
        """Set the axes of a tensor, or join them with those that it has."""
        known = self.of(tensor)
        if known is None:
            self._axes[tensor] = tuple(axes)
        elif len(known) == len(axes):
            for a, b in zip(known, axes, strict=True):
                self.kinds.join(a, b)

    def give_new(self, tensor: Tensor) -> None:
        """Give a tensor axes of its own."""
        self.give(tensor, [self.kinds.new(size) for size in tensor.shape])

    def broadcast(self, read: Iterable[Any], made: Tensor) -> None:
        """Give the result of an element-wise operator the axes of its operands, which are aligned at the last axis."""
        result: list[int | None] = [None] * made.ndim
        for axes in self.all_of(read):
            for i, axis in enumerate(reversed(axes)):
                place = made.ndim - 1 - i
                if place < 0 or self.kinds.sizes[axis] != made.shape[place]:
                    continue
                known = result[place]
                if known is None:
                    result[place] = axis
                else:
                    self.kinds.join(known, axis)
        sizes = zip(result, made.shape, strict=True)
        self.give(made, [self.kinds.new(size) if axis is None else axis for axis, size in sizes])

    def resized(self, axes: Sequence[int], shape: Sequence[int]) -> Axes:
        """Return axes of the same kinds with the sizes of `shape`."""
        result = [
            axis if self.kinds.sizes[axis] == size else self.kinds.new(size)
            for axis, size in zip(axes, shape, strict=True)
        ]
        for axis, other in zip(axes, result, strict=True):
            self.kinds.join(axis, other)
        return tuple(result)
