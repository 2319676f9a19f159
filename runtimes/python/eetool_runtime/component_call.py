"""Running one component on tensors by name; what it makes is held to the manifest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .backends.base import Graph
from .errors import BackendError
from .manifest import BATCH, Tensor, describe_tensor


def run_component(graph: Graph, tensors: dict[str, np.ndarray], said: Mapping[str, Tensor], rows: int) -> None:
    """Run `graph` on `tensors`, where `rows` inputs are answered together, and add what it makes.

    Raises:
        BackendError: an output has another dtype or shape than `said`. Symbols other than `batch` fit every size.
    """
    made = graph.run({name: tensors[name] for name in graph.inputs})
    for name, array in zip(graph.outputs, made):
        want = said[name]
        if array.dtype != want.dtype or not _fits(array.shape, want.shape, rows):
            raise BackendError(
                f"{name!r} is {array.dtype} {array.shape}, not {describe_tensor(want)}; {rows} inputs were answered together"
            )
        tensors[name] = array


def _fits(shape: tuple[int, ...], said: tuple[object, ...], rows: int) -> bool:
    return len(shape) == len(said) and all(
        size == (rows if want == BATCH else want) or (isinstance(want, str) and want != BATCH)
        for size, want in zip(shape, said)
    )
