"""From a bundle on disk to a model in memory: choose a variant, open its graphs, see that they are as described."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Optional, Union

import numpy as np

from .argument_checks import shown, whole
from .backends import PRIVATE, Arrays, Backend, BoundCall, Graph, Threads, backend_for
from .bundle import Bundle, open_bundle
from .errors import BundleError, EarlyExitError, UsageError
from .machine import board_name, cpu_name, usable_cores
from .manifest import Component, Measured, Tensor, all_tensors, describe_tensor
from .model import Model
from .records import dataclass

_AUTO = "auto"
_LITTLE_MACS = 200_000  # done before a second thread is awake


def load(
    path: Union[str, os.PathLike[str], Bundle],
    *,
    threads: Optional[int] = None,
    pool: str = PRIVATE,
    backend: str = _AUTO,
    variant: str = _AUTO,
    preload: bool = True,
) -> Model:
    """Open a bundle, check it, and load its components, in and for this process: a child forked later loads its own.

    Args:
        threads: per graph; by default what the bundle recorded for this machine, else 1.
        pool: `private` or `process`, see `eetool_runtime.backends.Threads`.
        backend: `auto` or a graph format (`onnx`).
        variant: `auto` or one of the bundle's, such as `onnx/fp32`.
        preload: False loads the components behind the first exit when an input first needs them; that input waits,
            and what is wrong with a graph is raised there.

    Raises:
        BundleError: the bundle is damaged, hostile or of another version.
        BackendError: no installed backend opens its graphs.
        UsageError: the bundle has no such variant, or an argument is of another type.
    """
    count = _check_arguments(threads, pool, backend, variant, preload)
    bundle = path if isinstance(path, Bundle) else open_bundle(path)
    chosen, opener = _choose(bundle, backend, variant)
    files = bundle.variant(chosen)
    if files.batch not in (None, 1):
        raise UsageError(f"the variant {chosen} answers {files.batch} inputs at a time, not one")
    wanted = Threads(recorded_threads(bundle, chosen) if count is None else count, pool)
    graphs = open_graphs(bundle, chosen, opener, wanted, preload)
    here = recorded_measurement(bundle, chosen)
    got = next(iter(graphs.values())).threads
    known = here.component_latency_ms if here is not None and here.threads == got.count else None
    return Model(bundle, chosen, graphs, got, component_ms=known)


def _check_arguments(threads: object, pool: object, backend: object, variant: object, preload: object) -> Optional[int]:
    """The number of threads, if one was given; raises UsageError where an argument of `load` is of another type."""
    for name, value in (("pool", pool), ("backend", backend), ("variant", variant)):
        if not isinstance(value, str):
            raise UsageError(f"{name} must be a text, not {shown(value)}")
    if whole(preload) not in (0, 1):
        raise UsageError(f"preload must be True or False, not {shown(preload)}")
    count = whole(threads)
    if threads is not None and count is None:
        raise UsageError(f"threads must be an integer, not {shown(threads)}")
    return count


def open_graphs(
    bundle: Bundle, variant: str, opener: Backend, threads: Threads, preload: bool = True
) -> dict[str, Graph]:
    """The graphs of a variant by component, in the order of the manifest; the first one's threads are the model's.

    With pools of their own, components of few MACs get one thread. `preload` and errors as in `load`.
    """
    m, files, said = bundle.manifest, bundle.variant(variant).components, all_tensors(bundle.manifest, variant)
    first_exit = [c.name for c in m.components].index(m.exits[0].component)
    graphs: dict[str, Graph] = {}
    soon = len(m.components) if preload else first_exit + 1
    opener = opener.together([bundle.file(files[c.name].path) for c in m.components[:soon]], threads)
    for position, c in enumerate(m.components):
        at_once = position < soon
        little = at_once and position > 0 and threads.pool == PRIVATE and c.macs < _LITTLE_MACS
        opening = _Opening(bundle, files[c.name].path, c, opener, Threads() if little else threads, said)
        graphs[c.name] = opening() if at_once else LazyGraph(c, said, threads, opening)
        threads = graphs[m.components[0].name].threads
    return graphs


def recorded_threads(bundle: Bundle, variant: str) -> int:
    """The thread count that was found best for `variant` on this very kind of machine, else 1."""
    here = recorded_measurement(bundle, variant)
    return min(here.threads, usable_cores()) if here is not None else 1


def recorded_measurement(bundle: Bundle, variant: str) -> Optional[Measured]:
    """What the bundle says of `variant` on this very kind of machine, if anything."""
    if bundle.manifest.devices:
        here = board_name() or cpu_name()
        for settings in bundle.manifest.devices.values():
            if settings.machine == here and variant in settings.variants:
                return settings.variants[variant]
    return None


@dataclass(frozen=True)
class _Opening:
    """Opens the graph of one component, and sees that it is what the manifest says."""

    bundle: Bundle
    path: str
    component: Component
    backend: Backend
    threads: Threads
    said: dict[str, Tensor]

    def __call__(self) -> Graph:
        graph = self.backend.open(self.bundle.file(self.path), self.threads)
        _check_graph(self.component, graph, self.said)
        return graph

    def late(self) -> Graph:
        """The same, long after the bundle was checked."""
        self.bundle.recheck(self.path)
        return self()


class LazyGraph:
    """A graph that is opened when it is first run. Several threads may come first at once; one opens it."""

    def __init__(self, component: Component, said: Mapping[str, Tensor], threads: Threads, opening: _Opening) -> None:
        self.inputs: Mapping[str, Tensor] = {name: said[name] for name in component.inputs}
        self.outputs: Mapping[str, Tensor] = {name: said[name] for name in component.outputs}
        self.threads = threads
        self._opening = opening
        self._lock = threading.Lock()
        self._graph: Optional[Graph] = None

    @property
    def loaded(self) -> bool:
        """Whether it has been opened."""
        return self._graph is not None

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """As `Graph.run`; raises what opening raises where it is opened now."""
        graph = self._graph or self._open()
        made = dict(zip(graph.outputs, graph.run(feed)))
        return [made[name] for name in self.outputs]  # the graph's own order may be another than the manifest's

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """As `Graph.bind`, but the call may open the graph, and raise what that raises."""
        given: dict[str, np.ndarray] = {}
        bound: list[BoundCall] = []

        def call() -> None:
            if not bound:
                graph = (self._graph or self._open()).bind(inputs, outputs)
                for name, array in given.items():
                    graph.read(name, array)
                given.clear()
                bound.append(graph)
            bound[0].call()

        def read(name: str, array: np.ndarray) -> None:
            if bound:
                bound[0].read(name, array)
            else:
                given[name] = array

        return BoundCall(call, read)

    def _open(self) -> Graph:
        with self._lock:
            if self._graph is None:
                self._graph = self._opening.late()
            return self._graph


def _choose(bundle: Bundle, backend: str, variant: str) -> tuple[str, Backend]:
    """The variant asked for, or the first one that an installed backend runs; and its backend."""
    if variant != _AUTO:
        bundle.variant(variant)
        if backend not in (_AUTO, variant.split("/")[0]):
            raise UsageError(f"the {backend!r} backend does not run the variant {variant!r}")
        return variant, backend_for(variant.split("/")[0])
    there = ", ".join(bundle.manifest.variants)
    problem: EarlyExitError = UsageError(
        f"{bundle.path.name} has no variant for backend {backend!r}", f"It has: {there}."
    )
    for name in bundle.manifest.variants:
        graph_format = name.split("/")[0]
        if backend in (_AUTO, graph_format):
            try:
                return name, backend_for(graph_format)
            except EarlyExitError as error:
                problem = error
    raise problem


def _check_graph(component: Component, graph: Graph, said: dict[str, Tensor]) -> None:
    """Raise BundleError where the graph does not read and make the tensors that the manifest says."""
    for what, names, found in (
        ("inputs", component.inputs, graph.inputs),
        ("outputs", component.outputs, graph.outputs),
    ):
        if set(names) != set(found):
            raise BundleError(
                f"{component.name}: its graph has the {what} {sorted(found)}; the manifest says {sorted(names)}"
            )
        for name in names:
            if not _agree(said[name], found[name]):
                raise BundleError(
                    f"{component.name}: {name!r} is {describe_tensor(found[name])} in the graph; "
                    f"the manifest says {describe_tensor(said[name])}"
                )


def _agree(said: Tensor, found: Tensor) -> bool:
    """A symbol goes with every size and every other symbol: graphs name their dimensions as they like."""
    return (
        said.dtype == found.dtype
        and len(said.shape) == len(found.shape)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(said.shape, found.shape))
    )
