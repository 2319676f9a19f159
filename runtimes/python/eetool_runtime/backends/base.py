"""What a backend is: something that opens one graph file and runs it on named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..manifest import Tensor

PRIVATE = "private"
PROCESS = "process"


@dataclass(frozen=True)
class Threads:
    """How many threads a graph may use, and whose pool they come from.

    `private`: each graph has its own pool, idle threads do not spin, and nothing else in the process notices.
    `process`: all graphs share one pool, which is faster with more than one thread; it is set once per process, and
    from then on the host application's own sessions must ask for it too.
    """

    count: int = 1
    pool: str = PRIVATE


class Graph(Protocol):
    """One opened graph. Tensors are bound by name."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`. Raises InputError where an array does not fit."""


class Backend(Protocol):
    """Opens graphs of one file format."""

    name: str
    version: str
    suffix: str

    def open(self, path: Path, threads: Threads) -> Graph:
        """Raises BackendError where the graph cannot be opened."""
