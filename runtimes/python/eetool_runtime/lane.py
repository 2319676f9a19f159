"""What one call at a time works in: arrays for every tensor, and for every component a call on those arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np

from .backends import Graph
from .manifest import BATCH, Manifest, all_tensors

Enter = Callable[[Mapping[str, np.ndarray]], None]


class Lane:
    """`enter` begins a call with input arrays, which are not copied; `calls[i]` then runs component i on `tensors`."""

    __slots__ = ("calls", "enter", "tensors")

    def __init__(self, tensors: dict[str, np.ndarray], calls: list[Callable[[], None]], enter: Enter) -> None:
        self.tensors = tensors
        self.calls = calls
        self.enter = enter


class Lanes:
    """The lanes of a model: as many as it ever had calls at once, each given back when its call is over.

    Where the manifest says every size, arrays are made once and graphs bound to them: an output lies where the next
    component reads it. Where sizes depend on the input, as the length of a text does, every call makes its arrays anew.
    """

    def __init__(
        self,
        manifest: Manifest,
        variant: str,
        graphs: Sequence[Graph],
        constants: Mapping[str, np.ndarray],
    ) -> None:
        """`graphs` in the order of the manifest; `constants` are what all calls share."""
        self._graphs = graphs
        self._inputs = {i.name for i in manifest.inputs}
        self._constants = constants
        tensors = all_tensors(manifest, variant)
        shapes = {name: tuple(1 if size == BATCH else size for size in t.shape) for name, t in tensors.items()}
        self._fixed = all(isinstance(size, int) for shape in shapes.values() for size in shape)
        self._forms: list[tuple[str, Any, str]] = [(name, shapes[name], t.dtype) for name, t in tensors.items()]
        self._free: list[Lane] = []

    def take(self) -> Lane:
        """One that no other call is in. `list.pop` is atomic."""
        try:
            return self._free.pop()
        except IndexError:
            return self._bound() if self._fixed else self._loose()

    def give_back(self, lane: Lane) -> None:
        """The call is over; what it left in `tensors` may be written over. A lane that failed is better dropped."""
        self._free.append(lane)

    def _bound(self) -> Lane:
        tensors = {name: np.zeros(shape, dtype) for name, shape, dtype in self._forms}
        tensors.update(self._constants)
        bound = [g.bind({n: tensors[n] for n in g.inputs}, {n: tensors[n] for n in g.outputs}) for g in self._graphs]
        readers = [(name, b.read) for g, b in zip(self._graphs, bound) for name in g.inputs if name in self._inputs]

        def enter(inputs: Mapping[str, np.ndarray]) -> None:
            for name, read in readers:
                array = inputs[name]
                read(name, array if array.flags.c_contiguous else array.copy())

        return Lane(tensors, [b.call for b in bound], enter)

    def _loose(self) -> Lane:
        tensors = dict(self._constants)
        return Lane(tensors, [_anew(graph, tensors) for graph in self._graphs], tensors.update)


def _anew(graph: Graph, tensors: dict[str, np.ndarray]) -> Callable[[], None]:
    run, reads, makes = graph.run, tuple(graph.inputs), tuple(graph.outputs)

    def call() -> None:
        tensors.update(zip(makes, run({name: tensors[name] for name in reads})))

    return call
