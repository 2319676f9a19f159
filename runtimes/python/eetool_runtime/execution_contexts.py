"""The lanes of a model, with arrays for every tensor where no group keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from .backends.base import BoundCall, ExecutionContext, Graph, GraphGroup
from .component_call import run_component
from .errors import BackendError, EarlyExitError
from .manifest import BATCH, Manifest, Tensor, all_tensors


class ContextPool:
    """The lanes of a model: as many as it ever had calls at once, each given back when its call is over.

    Where the manifest says every size, arrays are made once and graphs bound to them: an output lies where the next
    component reads it. Graphs of a group keep tensors among them, and there is one lane, for one call after the other.
    Where sizes depend on the input, as the length of a text does, every call makes its arrays anew.
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
        self._said = tensors = all_tensors(manifest, variant)
        shapes = {name: tuple(1 if size == BATCH else size for size in t.shape) for name, t in tensors.items()}
        self._fixed = all(isinstance(size, int) for shape in shapes.values() for size in shape)
        self._forms: list[tuple[str, Any, str]] = [(name, shapes[name], t.dtype) for name, t in tensors.items()]
        self._group = _group(graphs) if self._fixed else None
        self._free = [self._group.lane(graphs, constants)] if self._group is not None else []

    def take(self) -> ExecutionContext:
        """One that no other call is in; it has to be given back. `list.pop` is atomic."""
        if self._group is not None:
            self._group.lock.acquire()
        try:
            return self._free.pop()
        except IndexError:
            return self._bound() if self._fixed else self._loose()

    def give_back(self, lane: ExecutionContext) -> None:
        """The call is over; what it left may be written over."""
        self._free.append(lane)
        if self._group is not None:
            self._group.lock.release()

    def _bound(self) -> ExecutionContext:
        tensors = {name: np.zeros(shape, dtype) for name, shape, dtype in self._forms}
        tensors.update(self._constants)
        bound = [_bind(graph, tensors) for graph in self._graphs]
        readers = [(name, b.read) for g, b in zip(self._graphs, bound) for name in g.inputs if name in self._inputs]

        def enter(inputs: Mapping[str, np.ndarray]) -> None:
            for name, read in readers:
                array = inputs[name]
                read(name, array if array.flags.c_contiguous else array.copy())

        return ExecutionContext(tensors.__getitem__, [b.call for b in bound], enter)

    def _loose(self) -> ExecutionContext:
        tensors = dict(self._constants)
        return ExecutionContext(
            tensors.__getitem__, [_anew(graph, tensors, self._said) for graph in self._graphs], tensors.update
        )


def _group(graphs: Sequence[Graph]) -> Optional[GraphGroup]:
    """The group that all of `graphs` are of, if there is one."""
    group: Optional[GraphGroup] = getattr(graphs[0], "group", None)
    return group if all(getattr(graph, "group", None) is group for graph in graphs) else None


def _bind(graph: Graph, tensors: Mapping[str, np.ndarray]) -> BoundCall:
    try:
        return graph.bind({n: tensors[n] for n in graph.inputs}, {n: tensors[n] for n in graph.outputs})
    except EarlyExitError:
        raise
    except Exception as error:  # engines raise a dozen unrelated types
        raise BackendError(f"a graph cannot be bound to arrays: {error}") from error


def _anew(graph: Graph, tensors: dict[str, np.ndarray], said: Mapping[str, Tensor]) -> Callable[[], None]:
    return lambda: run_component(graph, tensors, said, rows=1)
