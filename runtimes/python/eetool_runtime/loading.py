"""From a bundle on disk to a model in memory: choose a variant, open its graphs, see that they are as described."""

from __future__ import annotations

import os
from typing import Optional, Union

from .backends import PRIVATE, Backend, Graph, Threads, backend_for
from .bundle import Bundle, open_bundle
from .cascade import Model
from .errors import BundleError, EarlyExitError, UsageError
from .machine import read_machine, usable_cores
from .manifest import Component, Manifest, Tensor

_AUTO = "auto"
_TEMPERATURE = Tensor("float32", ())


def load(
    path: Union[str, os.PathLike[str], Bundle],
    *,
    threads: Optional[int] = None,
    pool: str = PRIVATE,
    backend: str = _AUTO,
    variant: str = _AUTO,
) -> Model:
    """Open a bundle, check it, and load its components.

    Args:
        path: the bundle directory, or a `Bundle` that is open already.
        threads: threads per graph; by default what the bundle recorded for this machine, else 1.
        pool: `private` or `process`, see `eetool_runtime.backends.Threads`.
        backend: `auto` or a graph format (`onnx`).
        variant: `auto` or one of the bundle's variants, such as `onnx/fp32`.

    Raises:
        BundleError: the bundle is damaged, hostile or of another version.
        BackendError: no installed backend opens its graphs.
        UsageError: the bundle has no such variant.
    """
    bundle = path if isinstance(path, Bundle) else open_bundle(path)
    chosen, opener = _choose(bundle, backend, variant)
    files = bundle.variant(chosen)
    if files.batch not in (None, 1):
        raise UsageError(f"the variant {chosen} answers {files.batch} inputs at a time, not one")
    allotted = Threads(recorded_threads(bundle, chosen) if threads is None else threads, pool)
    said = _tensors(bundle.manifest, chosen)
    graphs = {}
    for component in bundle.manifest.components:
        graph = opener.open(bundle.file(files.components[component.name].path), allotted)
        _check_graph(component, graph, said)
        graphs[component.name] = graph
    return Model(bundle, chosen, graphs, next(iter(graphs.values())).threads)


def recorded_threads(bundle: Bundle, variant: str) -> int:
    """The thread count that was found best for `variant` on this very kind of machine, else 1."""
    if bundle.manifest.devices:
        here = read_machine()
        for settings in bundle.manifest.devices.values():
            if settings.machine == (here.board or here.cpu) and variant in settings.variants:
                return min(settings.variants[variant].threads, usable_cores())
    return 1


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


def _tensors(m: Manifest, variant: str) -> dict[str, Tensor]:
    """Type of every tensor that a graph of `variant` may read or make."""
    known = {i.name: Tensor(i.dtype, i.shape) for i in m.inputs}
    known.update({e.temperature: _TEMPERATURE for e in m.exits})
    return {**known, **m.tensors, **m.variants[variant].tensors}


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
                    f"{component.name}: {name!r} is {_form(found[name])} in the graph; "
                    f"the manifest says {_form(said[name])}"
                )


def _agree(said: Tensor, found: Tensor) -> bool:
    """A symbol goes with every size and every other symbol: graphs name their dimensions as they like."""
    return (
        said.dtype == found.dtype
        and len(said.shape) == len(found.shape)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(said.shape, found.shape))
    )


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} ({', '.join(str(size) for size in tensor.shape)})"
