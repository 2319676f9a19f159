"""A backend without an engine: a graph is a Python function. For the tests of those who embed the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

import numpy as np

from ..errors import BackendError, InputError, UsageError
from ..manifest import Tensor
from .base import PRIVATE, PROCESS, Bound, Threads, check_arrays, fits

Tensors = Mapping[str, np.ndarray]


class FakeGraph:
    """`compute` takes the inputs by name and returns the outputs by name; what goes in and comes out is checked."""

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        compute: Callable[[Tensors], Tensors],
        threads: Threads = Threads(),  # noqa: B008 - frozen, so safe to share
        name: str = "fake graph",
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.threads = threads
        self._compute = compute
        self._name = name

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`; raises InputError, or BackendError where the function fails."""
        if set(feed) != set(self.inputs):
            raise InputError(f"{self._name}: expected inputs {sorted(self.inputs)}, found {sorted(feed)}")
        for name, want in self.inputs.items():
            if not fits(feed[name], want):
                found = f"{feed[name].dtype} {feed[name].shape}"
                raise InputError(f"{self._name}: {name!r} must be {want.dtype} {want.shape}, found {found}")
        try:
            made = self._compute(feed)
            return [np.array(made[name], self.outputs[name].dtype) for name in self.outputs]
        except Exception as error:
            raise BackendError(f"{self._name}: {type(error).__name__}: {error}") from error

    def bind(self, inputs: Tensors, outputs: Tensors) -> Bound:
        """As the protocol says."""
        check_arrays(self.inputs, inputs, self._name)
        check_arrays(self.outputs, outputs, self._name)
        reads = dict(inputs)

        def call() -> None:
            for name, array in zip(self.outputs, self.run(reads)):
                np.copyto(outputs[name], array)

        return Bound(call, reads.__setitem__)


class FakeBackend:
    """Opens `.fake` files, which hold nothing but the name of one of `graphs`."""

    name = "fake"
    version = "1"
    suffix = "fake"

    def __init__(self, graphs: Mapping[str, FakeGraph]) -> None:
        self._graphs = graphs

    def open(self, path: Path, threads: Threads) -> FakeGraph:
        """The graph that the file at `path` names, as the protocol says."""
        if threads.pool not in (PRIVATE, PROCESS):
            raise UsageError(f"unknown pool {threads.pool!r}", f"Known pools: {PRIVATE}, {PROCESS}.")
        if threads.count < 1:
            raise UsageError(f"threads must be at least 1, not {threads.count}")
        try:
            graph = self._graphs[path.read_text(encoding="utf-8")]
        except (OSError, UnicodeDecodeError, KeyError) as error:
            raise BackendError(f"{path}: names no fake graph: {error!r}") from None
        got = Threads(threads.count, PRIVATE)
        return FakeGraph(graph.inputs, graph.outputs, graph._compute, got, str(path))
