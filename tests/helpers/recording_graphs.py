"""Graphs that record when they run, to test the order of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import eetool_runtime as ee
from eetool_runtime.backends import BoundCall, Graph, Threads, open_graph
from tests.helpers.tiny_bundle import VARIANT


class RecordingGraph:
    """A graph that appends its name to a log when it runs."""

    def __init__(self, name: str, graph: Graph, log: list[str]) -> None:
        self.inputs, self.outputs, self.threads = graph.inputs, graph.outputs, graph.threads
        self._name, self._graph, self._log = name, graph, log

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        self._log.append(self._name)
        return self._graph.run(feed)

    def bind(self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> BoundCall:
        bound = self._graph.bind(inputs, outputs)

        def call() -> None:
            self._log.append(self._name)
            bound.call()

        return BoundCall(call, bound.read)


def load_recording(path: Path) -> tuple[ee.Model, list[str]]:
    """Load a model; return it and the log of the components that ran."""
    bundle = ee.open_bundle(path)
    log: list[str] = []
    graphs = {
        name: RecordingGraph(name, open_graph(bundle.file(file.path)), log)
        for name, file in bundle.variant(VARIANT).components.items()
    }
    return ee.Model(bundle, VARIANT, graphs, Threads()), log
