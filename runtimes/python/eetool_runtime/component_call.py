"""Execution of one component on tensors by name, with a check of its outputs against the manifest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .backends.base import Graph
from .errors import BackendError
from .manifest import BATCH, Tensor, describe_tensor


def run_component(graph: Graph, tensors: dict[str, np.ndarray], declared: Mapping[str, Tensor], rows: int) -> None:
    """Run `graph` on `tensors`, a batch of `rows` inputs, and add its outputs to `tensors`.

    Raises:
        BackendError: an output differs in dtype or shape from `declared`. Symbols other than `batch` match every size.
    """
    outputs = graph.run({name: tensors[name] for name in graph.inputs})
    for name, array in zip(graph.outputs, outputs):
        expected = declared[name]
        if array.dtype != expected.dtype or not _matches(array.shape, expected.shape, rows):
            raise BackendError(
                f"{name!r} is {array.dtype} {array.shape}, not {describe_tensor(expected)}; the batch has {rows} inputs"
            )
        tensors[name] = array


def _matches(shape: tuple[int, ...], declared: tuple[object, ...], rows: int) -> bool:
    return len(shape) == len(declared) and all(
        size == (rows if expected == BATCH else expected) or (isinstance(expected, str) and expected != BATCH)
        for size, expected in zip(shape, declared)
    )
