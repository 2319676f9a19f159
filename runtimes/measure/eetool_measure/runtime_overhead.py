"""Overhead of the runtime, from cascades whose graphs take no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from eetool_runtime.backends import BoundCall, Threads
from eetool_runtime.manifest import NEVER, Tensor
from eetool_runtime.model import Model
from eetool_runtime.records import dataclass
from eetool_runtime.testing import VARIANT, ScriptedAnswer, scripted

from .timing import Subject, interleave, latency

_EARLY_EXITS = (0, 3)


@dataclass(frozen=True)
class RuntimeOverhead:
    """Latency that the runtime adds to every call, and to every component in it."""

    call_ms: float
    component_ms: float


def measure_overhead(runs: int = 200) -> RuntimeOverhead:
    """Time a short and a long cascade whose graphs take no time."""
    models = {exits: instant_model(exits) for exits in _EARLY_EXITS}
    x = np.zeros((1, 3, 32, 32), np.float32)
    subjects: dict[int, Subject] = {exits: partial(_call, model, x) for exits, model in models.items()}
    times = interleave(subjects, runs=runs, min_seconds=0, seed=0)
    short, long = (latency(times[exits]).median for exits in _EARLY_EXITS)
    count = [len(models[exits].bundle.manifest.components) for exits in _EARLY_EXITS]
    component_ms = max(0.0, (long - short) / (count[1] - count[0]))
    return RuntimeOverhead(max(0.0, short - count[0] * component_ms), component_ms)


def _call(model: Model, x: np.ndarray, number: int) -> object:
    return model(x)


def instant_model(early_exits: int) -> Model:
    """Return a model whose graphs take no time and whose gates never fire."""
    bundle = scripted([ScriptedAnswer("a")], labels=("a", "b"), early_exits=early_exits).bundle
    m = bundle.manifest
    types = {e.temperature: Tensor("float32", ()) for e in m.exits}
    types.update({i.name: Tensor(i.dtype, i.shape) for i in m.inputs}, **m.tensors)
    graphs = {
        c.name: _InstantGraph({n: types[n] for n in c.inputs}, {n: types[n] for n in c.outputs}) for c in m.components
    }
    model = Model(bundle, VARIANT, graphs, Threads())
    model.use(threshold=(NEVER,) * early_exits)
    return model


class _InstantGraph:
    """A graph that returns precomputed zeros."""

    threads = Threads()

    def __init__(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        self.inputs, self.outputs = inputs, outputs
        shapes = [tuple(size if isinstance(size, int) else 1 for size in spec.shape) for spec in outputs.values()]
        self._zeros = [np.zeros(shape, spec.dtype) for shape, spec in zip(shapes, outputs.values())]

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        return self._zeros

    def bind(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> BoundCall:
        return BoundCall(lambda: None, lambda name, array: None)  # arrays of a context are initialised to zeros
