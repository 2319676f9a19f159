"""Execution contexts of a model: reusable buffers, one set for each concurrent call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np

from .backends.base import BoundCall, ExecutionContext, Graph, GraphGroup
from .component_call import run_component
from .errors import BackendError, EarlyExitError
from .manifest import BATCH, Manifest, Tensor, all_tensors
from .views import View, make_lazily


class ContextPool:
    """Pool of execution contexts, as many as there were ever concurrent calls.

    Where the manifest fixes every size, arrays are allocated once and graphs are bound to them, so that a component
    reads its inputs where they were written. Graphs of a group share their tensors; they have one context, and only
    one call runs at a time. Where sizes depend on the input, such as the length of a text, every call allocates.
    """

    def __init__(
        self,
        manifest: Manifest,
        variant: str,
        graphs: Sequence[Graph],
        constants: Mapping[str, np.ndarray],
    ) -> None:
        """Make an empty pool; `graphs` are in the order of the manifest, `constants` are shared by all calls."""
        self._graphs = graphs
        self._components = manifest.components
        self._inputs = {i.name for i in manifest.inputs}
        self._constants = constants
        self._declared = tensors = all_tensors(manifest, variant)
        shapes = {name: tuple(1 if size == BATCH else size for size in t.shape) for name, t in tensors.items()}
        self._fixed = all(isinstance(size, int) for shape in shapes.values() for size in shape)
        self._arrays: list[tuple[str, Any, str]] = [(name, shapes[name], t.dtype) for name, t in tensors.items()]
        self._group = _group(graphs) if self._fixed else None
        self._free = [self._group.new_context(graphs, constants)] if self._group is not None else []

    def acquire(self) -> ExecutionContext:
        """Return a context that no other call uses, to be released afterwards."""
        if self._group is not None:
            self._group.lock.acquire()
        try:
            return self._free.pop()  # atomic
        except IndexError:
            return self._bound_context() if self._fixed else self._allocating_context()

    def release(self, context: ExecutionContext) -> None:
        """Return a context to the pool; its tensors may then be overwritten."""
        self._free.append(context)
        if self._group is not None:
            self._group.lock.release()

    def begin(self, context: ExecutionContext, inputs: Mapping[str, Any]) -> ExecutionContext:
        """Begin a call with `inputs`, and return its context: another one where there are views, made when needed."""
        if any(isinstance(value, View) for value in inputs.values()):
            return make_lazily(context, inputs, self._components)
        context.enter(inputs)
        return context

    def _bound_context(self) -> ExecutionContext:
        tensors = {name: np.zeros(shape, dtype) for name, shape, dtype in self._arrays}
        tensors.update(self._constants)
        bound = [_bind(graph, tensors) for graph in self._graphs]
        readers = [(name, b.read) for g, b in zip(self._graphs, bound) for name in g.inputs if name in self._inputs]

        def enter(inputs: Mapping[str, np.ndarray]) -> None:
            for name, read in readers:
                array = inputs.get(name)
                if array is not None:  # a view may come later
                    read(name, array if array.flags.c_contiguous else array.copy())

        return ExecutionContext(tensors.__getitem__, [b.call for b in bound], enter)

    def _allocating_context(self) -> ExecutionContext:
        tensors = dict(self._constants)
        return ExecutionContext(
            tensors.__getitem__,
            [_allocating_call(graph, tensors, self._declared) for graph in self._graphs],
            tensors.update,
        )


def _group(graphs: Sequence[Graph]) -> Optional[GraphGroup]:
    """Return the group that all `graphs` belong to, if there is one."""
    group: Optional[GraphGroup] = getattr(graphs[0], "group", None)
    return group if all(getattr(graph, "group", None) is group for graph in graphs) else None


def _bind(graph: Graph, tensors: Mapping[str, np.ndarray]) -> BoundCall:
    try:
        return graph.bind({n: tensors[n] for n in graph.inputs}, {n: tensors[n] for n in graph.outputs})
    except EarlyExitError:
        raise
    except Exception as error:  # engines raise a dozen unrelated types
        raise BackendError(f"a graph cannot be bound to arrays: {error}") from error


def _allocating_call(
    graph: Graph, tensors: dict[str, np.ndarray], declared: Mapping[str, Tensor]
) -> Callable[[], None]:
    return lambda: run_component(graph, tensors, declared, rows=1)
