"""Loading of a bundle: choice of a variant, and opening and checking of its graphs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Optional, Union

import numpy as np

from .argument_checks import as_int, short_repr
from .backends import PRIVATE, Arrays, Backend, BoundCall, ComponentInterface, Graph, Threads, backend_for
from .bundle import Bundle, open_bundle
from .default_point import default_point_warning
from .errors import BackendError, BundleError, EarlyExitError, UsageError
from .machine import board_name, cpu_name, usable_cores
from .manifest import Component, Manifest, Measured, Tensor, all_tensors, describe_tensor
from .model import Model
from .offload_checks import n_head_components
from .records import dataclass

if TYPE_CHECKING:
    from .offload.options import Offload

_AUTO = "auto"
_LOGGER = logging.getLogger("eetool_runtime")
_SMALL_MACS = 200_000  # a component with fewer finishes before a second thread starts


def load(
    path: Union[str, os.PathLike[str], Bundle],
    *,
    threads: Optional[int] = None,
    pool: str = PRIVATE,
    backend: str = _AUTO,
    variant: str = _AUTO,
    preload: Optional[bool] = None,
    offload: Optional[Offload] = None,
) -> Model:
    """Open and check a bundle, and load its components for this process; a forked child must load its own.

    The logger `eetool_runtime` gets a warning where the default operating point costs as much as the network without
    early exits.

    Args:
        path: of the bundle directory, or an opened bundle.
        threads: per graph; by default the count that the bundle recorded for this machine, else 1.
        pool: `private` or `process`, see `eetool_runtime.backends.Threads`.
        backend: `auto` or a graph format (`onnx`).
        variant: `auto` or a variant of the bundle, such as `onnx/fp32`.
        preload: True loads all components now, False those after the first exit when an input first needs them. That
            call takes longer, and raises the errors of loading. By default all, or with `offload` those before the
            cut. Components that share a file are loaded together.
        offload: server that computes the last exits, see `eetool_runtime.offload`. The model is then an
            `OffloadingModel`. Nothing waits for the server, and no error of it is raised here.

    Raises:
        BundleError: the bundle is damaged, hostile or of another version.
        BackendError: no installed backend opens its graphs.
        UsageError: the bundle has no such variant, or an argument has a wrong type.
    """
    model, component_ms = _open_model(path, threads, pool, backend, variant, preload, offload)
    if offload is not None:
        return model
    warning = default_point_warning(model.bundle.manifest, model.variant, component_ms)
    if warning is not None:
        _LOGGER.warning("%s", warning)
    return model


def load_to_judge(
    path: Union[str, os.PathLike[str], Bundle],
    *,
    threads: Optional[int] = None,
    pool: str = PRIVATE,
    variant: str = _AUTO,
) -> Model:
    """Load a bundle as `load` does, for a tool that checks, tunes or measures it: without a warning of its default."""
    return _open_model(path, threads, pool, _AUTO, variant, preload=True)[0]


def _open_model(
    path: Union[str, os.PathLike[str], Bundle],
    threads: Optional[int],
    pool: str,
    backend: str,
    variant: str,
    preload: Optional[bool],
    offload: Optional[Offload] = None,
) -> tuple[Model, Optional[Mapping[str, float]]]:
    """Return the model, and the latencies of its components where they were measured with so many threads."""
    count = _check_arguments(threads, pool, backend, variant, preload)
    bundle = path if isinstance(path, Bundle) else open_bundle(path)
    served = None if offload is None else _offloaded_variants(bundle, offload)
    name, opener = _choose_variant(bundle, backend, variant, served)
    batch = bundle.variant(name).batch
    if batch not in (None, 1):
        raise UsageError(f"the variant {name} has the batch size {batch}, not 1")
    requested = Threads(recorded_threads(bundle, name) if count is None else count, pool)
    graphs = open_graphs(bundle, name, opener, requested, _n_preloaded(bundle.manifest, preload, offload))
    measured = recorded_measurement(bundle, name)
    if any(i.text is not None for i in bundle.manifest.inputs):
        from . import word_segmentation  # noqa: F401  a call imports nothing; models of images need none of it
    granted = next(iter(graphs.values())).threads
    matches = measured is not None and measured.threads == granted.count
    component_ms = measured.component_latency_ms if measured is not None and matches else None
    if offload is None:
        return Model(bundle, name, graphs, granted, component_ms=component_ms), component_ms
    from .offload.connect import open_client
    from .offload.model import OffloadingModel

    client = open_client(offload)
    model = OffloadingModel(bundle, name, graphs, granted, offload=offload, client=client, component_ms=component_ms)
    return model, component_ms


def _offloaded_variants(bundle: Bundle, offload: Offload) -> Sequence[str]:
    """Return the variants of a bundle that a server takes part in; raises UsageError where there are none."""
    from .offload.options import Offload as Settings  # none of it is imported without a server

    if not isinstance(offload, Settings):
        raise UsageError(f"offload must be an Offload, not {type(offload).__name__}")
    spec = bundle.manifest.offload
    if spec is None:
        raise UsageError(
            f"{bundle.path.name} has no part for a server", "Export it again with one, or load it without offload=."
        )
    return list(spec.variants)


def _n_preloaded(m: Manifest, preload: Optional[bool], offload: Optional[Offload]) -> int:
    """Return the number of components to load at once."""
    first_exit = [c.name for c in m.components].index(m.exits[0].component)
    if preload is not None or m.offload is None or offload is None:
        return len(m.components) if preload is None or preload else first_exit + 1
    return n_head_components(m, m.offload)


def _check_arguments(threads: object, pool: object, backend: object, variant: object, preload: object) -> Optional[int]:
    """Return the given number of threads, or None; raises UsageError where an argument of `load` has a wrong type."""
    for name, value in (("pool", pool), ("backend", backend), ("variant", variant)):
        if not isinstance(value, str):
            raise UsageError(f"{name} must be a string, not {short_repr(value)}")
    if preload is not None and as_int(preload) not in (0, 1):
        raise UsageError(f"preload must be True, False or None, not {short_repr(preload)}")
    count = as_int(threads)
    if threads is not None and count is None:
        raise UsageError(f"threads must be an integer, not {short_repr(threads)}")
    return count


def open_graphs(
    bundle: Bundle, variant: str, opener: Backend, threads: Threads, n_preloaded: Optional[int] = None
) -> dict[str, Graph]:
    """Open the graphs of a variant.

    Args:
        bundle: an opened bundle.
        variant: name of the variant.
        opener: backend of its format.
        threads: requested per graph. With private pools, components of few MACs get one thread.
        n_preloaded: number of components to load at once, the others when they are first needed; None: all.

    Returns:
        graphs by component, in the order of the manifest; the threads of the first one are those of the model.

    Raises:
        BundleError: a graph does not match the manifest.
        BackendError: a graph cannot be opened.
    """
    if bundle.variant(variant).shared_file is not None:
        return _open_shared(bundle, variant, opener, threads)
    m, files, declared = bundle.manifest, bundle.variant(variant).components, all_tensors(bundle.manifest, variant)
    graphs: dict[str, Graph] = {}
    for position, c in enumerate(m.components):
        load_now = n_preloaded is None or position < n_preloaded
        small = load_now and position > 0 and threads.pool == PRIVATE and c.macs < _SMALL_MACS
        loader = _GraphLoader(bundle, files[c.name].path, c, opener, Threads() if small else threads, declared)
        graphs[c.name] = loader.load() if load_now else LazyGraph(c, declared, threads, loader)
        threads = graphs[m.components[0].name].threads
    return graphs


def _open_shared(bundle: Bundle, variant: str, opener: Backend, threads: Threads) -> dict[str, Graph]:
    """Open the one file of a variant: its engine loads all components at once."""
    path = bundle.variant(variant).shared_file or ""
    opened, declared = opener.open_shared(bundle.file(path), threads), all_tensors(bundle.manifest, variant)
    names = [c.name for c in bundle.manifest.components]
    if opened.keys() != set(names):
        raise BundleError(f"{path}: has the signatures {sorted(opened)}; the manifest says {sorted(names)}")
    for c in bundle.manifest.components:
        _check_graph(c, opened[c.name], declared)
    return {name: opened[name] for name in names}


def recorded_threads(bundle: Bundle, variant: str) -> int:
    """Return the thread count that the bundle recommends for `variant` on this kind of machine, else 1."""
    measured = recorded_measurement(bundle, variant)
    return min(measured.threads, usable_cores()) if measured is not None else 1


def recorded_measurement(bundle: Bundle, variant: str) -> Optional[Measured]:
    """Return the measurement of `variant` on this kind of machine that the bundle holds, if any."""
    if bundle.manifest.devices:
        machine = board_name() or cpu_name()
        for settings in bundle.manifest.devices.values():
            if settings.machine == machine and variant in settings.variants:
                return settings.variants[variant]
    return None


@dataclass(frozen=True)
class _GraphLoader:
    """Deferred opening of the graph of one component, with a check against the manifest."""

    bundle: Bundle
    path: str
    component: Component
    backend: Backend
    threads: Threads
    declared: dict[str, Tensor]

    def load(self) -> Graph:
        """Open and check the graph."""
        path, open_component = self.bundle.file(self.path), getattr(self.backend, "open_component", None)
        if open_component is None:
            graph: Graph = self.backend.open(path, self.threads)
        else:
            graph = open_component(path, self.threads, self._interface())
        _check_graph(self.component, graph, self.declared)
        return graph

    def _interface(self) -> ComponentInterface:
        own, manifest = self.component, self.bundle.manifest
        inputs, outputs = ({name: self.declared[name] for name in names} for names in (own.inputs, own.outputs))
        return ComponentInterface(
            inputs, outputs, next((e for e in manifest.exits if e.component == own.name), None), manifest.score
        )

    def load_late(self) -> Graph:
        """Check the file again, whose last check may be long ago, and load it."""
        self.bundle.recheck(self.path)
        return self.load()


class LazyGraph:
    """A graph that is opened on its first run. Several threads may run it first at once; one of them opens it."""

    def __init__(
        self, component: Component, declared: Mapping[str, Tensor], threads: Threads, loader: _GraphLoader
    ) -> None:
        self.inputs: Mapping[str, Tensor] = {name: declared[name] for name in component.inputs}
        self.outputs: Mapping[str, Tensor] = {name: declared[name] for name in component.outputs}
        self.threads = threads
        self._loader = loader
        self._lock = threading.Lock()
        self._graph: Optional[Graph] = None

    @property
    def loaded(self) -> bool:
        """True once the graph is open."""
        return self._graph is not None

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Run the graph as `Graph.run`; the first run opens it and may raise errors of loading."""
        graph = self._graph or self._open()
        outputs = dict(zip(graph.outputs, graph.run(feed)))
        return [outputs[name] for name in self.outputs]  # the order of the graph may differ from the manifest

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """Bind as `Graph.bind`; the first call opens the graph and may raise errors of loading."""
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

    def load(self) -> None:
        """Open the graph now. Raises errors of loading."""
        self._open()

    def _open(self) -> Graph:
        with self._lock:
            if self._graph is None:
                self._graph = self._loader.load_late()
            return self._graph


def _choose_variant(
    bundle: Bundle, backend: str, variant: str, among: Optional[Sequence[str]] = None
) -> tuple[str, Backend]:
    """Return the requested variant, or the first one, here `among` some, that a backend runs, and its backend."""
    names = list(bundle.manifest.variants) if among is None else among
    if variant != _AUTO:
        bundle.variant(variant)
        if variant not in names:
            raise UsageError(f"the variant {variant!r} is not offloaded", f"These are: {', '.join(names)}.")
        if backend not in (_AUTO, variant.split("/")[0]):
            raise UsageError(f"the {backend!r} backend does not run the variant {variant!r}")
        return variant, backend_for(variant.split("/")[0])
    known = ", ".join(names)
    problem: EarlyExitError = UsageError(
        f"{bundle.path.name} has no variant for backend {backend!r}", f"It has: {known}."
    )
    for name in names:
        graph_format = name.split("/")[0]
        if backend in (_AUTO, graph_format):
            try:
                return name, backend_for(graph_format)
            except EarlyExitError as error:  # the library that the preferred variant lacks is what the user can mend
                problem = problem if isinstance(problem, BackendError) else error
    raise problem


def _check_graph(component: Component, graph: Graph, declared: dict[str, Tensor]) -> None:
    """Raise BundleError where the inputs or outputs of the graph differ from the manifest."""
    for kind, names, actual in (
        ("inputs", component.inputs, graph.inputs),
        ("outputs", component.outputs, graph.outputs),
    ):
        if set(names) != set(actual):
            raise BundleError(
                f"{component.name}: its graph has the {kind} {sorted(actual)}; the manifest says {sorted(names)}"
            )
        for name in names:
            if not _matches(declared[name], actual[name]):
                raise BundleError(
                    f"{component.name}: {name!r} is {describe_tensor(actual[name])} in the graph; "
                    f"the manifest says {describe_tensor(declared[name])}"
                )


def _matches(declared: Tensor, actual: Tensor) -> bool:
    """Return whether two types agree; a symbol matches every size and every other symbol."""
    return (
        declared.dtype == actual.dtype
        and len(declared.shape) == len(actual.shape)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(declared.shape, actual.shape))
    )
