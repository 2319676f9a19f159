"""What a backend is: something that opens one graph file and runs it on named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import UsageError
from ..frozen import dataclass
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


def check_threads(threads: Threads) -> None:
    """Raise UsageError where `threads` names an unknown pool, or less than one thread."""
    if threads.pool not in (PRIVATE, PROCESS):
        raise UsageError(f"unknown pool {threads.pool!r}", f"Known pools: {PRIVATE}, {PROCESS}.")
    if threads.count < 1:
        raise UsageError(f"threads must be at least 1, not {threads.count}")


class Graph(Protocol):
    """One opened graph. Tensors are bound by name. `threads` are those it got, which may not be those asked for."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    threads: Threads

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`, each an array of its own. May be called from several threads at once.

        Raises:
            InputError: an array is missing, surplus, or of another dtype or shape.
            BackendError: the graph failed while it ran.
        """


class Backend(Protocol):
    """Opens graphs of one file format."""

    name: str
    version: str
    suffix: str

    def open(self, path: Path, threads: Threads) -> Graph:
        """Load `path`.

        Raises:
            BackendError: it cannot be loaded, or this process cannot give it such threads.
            UsageError: `threads` names an unknown pool, or less than one thread.
        """
