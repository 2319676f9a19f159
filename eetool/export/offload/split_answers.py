"""Answers of a cascade whose last components run elsewhere, computed here: device, wire, server."""

from collections.abc import Mapping, Sequence

import numpy as np

from eetool.export.offload.cut import Cut
from eetool.export.offload.wire import decode
from eetool_runtime import Bundle
from eetool_runtime.backends import Threads, backend_for
from eetool_runtime.component_call import run_component
from eetool_runtime.loading import open_graphs
from eetool_runtime.manifest import Component, Exit, Variant, all_tensors, scalars
from eetool_runtime.manifest_offload import OffloadInput
from eetool_runtime.offload.wire import encoders

TAIL_VARIANT = "onnx/fp32"  # whose components the server runs
Arrays = dict[str, np.ndarray]


class ComponentRunner:
    """Components of one variant, run one after the other on named tensors.

    Scalars are those of `policy`, which may be another variant.
    """

    def __init__(self, bundle: Bundle, variant: str, policy: Variant) -> None:
        self._batch = bundle.variant(variant).batch
        self._graphs = open_graphs(bundle, variant, backend_for(variant.split("/")[0]), Threads())
        self._declared = all_tensors(bundle.manifest, variant)
        self._scalars = {name: np.array(x, np.float32) for name, x in scalars(bundle.manifest, policy).items()}

    def run(self, components: Sequence[Component], tensors: Mapping[str, np.ndarray]) -> Arrays:
        """Return `tensors`, a batch of any size, with the outputs of `components` added."""
        rows = len(next(iter(tensors.values())))
        if self._batch is None or rows == 1:
            return self._run(components, tensors, rows)
        parts = [self._run(components, {name: _row(x, i, rows) for name, x in tensors.items()}, 1) for i in range(rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, components: Sequence[Component], tensors: Mapping[str, np.ndarray], rows: int) -> Arrays:
        everything = {**tensors, **self._scalars}
        for component in components:
            run_component(self._graphs[component.name], everything, self._declared, rows)
        return {name: array for name, array in everything.items() if name not in self._scalars}


def _row(array: np.ndarray, index: int, rows: int) -> np.ndarray:
    """Return the part of one input; a tensor may have several rows of each, such as windows of an image."""
    each = len(array) // rows
    return array[index * each : (index + 1) * each]


class SplitAnswers:
    """A variant on the device up to a cut, and the float components behind it on what they receive.

    The server's graph is proved to compute the same, so policies are fitted on these answers.
    """

    def __init__(self, bundle: Bundle, variant: str, cut: Cut, wires: Sequence[OffloadInput]) -> None:
        self.bundle, self._cut, self._wires = bundle, cut, tuple(wires)
        policy = bundle.variant(variant)
        self._here = ComponentRunner(bundle, variant, policy)
        self._there = self._here if variant == TAIL_VARIANT else ComponentRunner(bundle, TAIL_VARIANT, policy)
        self._specs = {spec.name: spec for spec in bundle.manifest.inputs}
        self._encoders = encoders(bundle.manifest, self._wires)

    def boundary(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Return the tensors that travel, as the device computes them."""
        tensors = self._here.run(self._cut.before, inputs)
        return {name: tensors[name] for name in self._cut.tensors}

    def sent(self, boundary: Mapping[str, np.ndarray]) -> Arrays:
        """Return what is sent, by name in the server's model."""
        return {w.name: encode(boundary[w.tensor]) for w, encode in self._encoders}

    def received(self, boundary: Mapping[str, np.ndarray]) -> Arrays:
        """Return the tensors as the server's components read them."""
        sent = self.sent(boundary)
        return {w.tensor: decode(sent[w.name], w, self._specs.get(w.tensor)) for w in self._wires}

    def behind(self, boundary: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return logits and confidence of every later exit, from tensors that travel."""
        tensors = self._there.run(self._cut.behind, self.received(boundary))
        return _outputs(self._cut.later_exits(self.bundle.manifest), tensors)

    def every_exit(self, inputs: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return logits (n, classes) and confidence (n,) of every exit, as `Model.every_exit` does."""
        tensors = self._here.run(self._cut.before, inputs)
        boundary = {name: tensors[name] for name in self._cut.tensors}
        early = self.bundle.manifest.exits[: self._cut.exits_here]
        return _outputs(early, tensors) + self.behind(boundary)


def _outputs(exits: Sequence[Exit], tensors: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(tensors[e.logits], tensors[e.confidence]) for e in exits]
