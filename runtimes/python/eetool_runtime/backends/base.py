"""What a backend is: something that opens one graph file and runs it on named arrays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Protocol

import numpy as np

from ..argument_checks import shown, whole
from ..errors import InputError, UsageError
from ..manifest import Tensor
from ..records import dataclass

PRIVATE = "private"
PROCESS = "process"
MAX_THREADS = 1024  # as in a manifest

Arrays = Mapping[str, np.ndarray]


class BoundCall(NamedTuple):
    """A graph bound to arrays. One thread at a time may use it; several of one graph may run at once.

    `call()` reads the inputs as they are by then and writes the outputs, with nothing made anew; where the graph
    fails it raises what the engine raises. `read(name, array)` has an input read from another array, C-contiguous
    and of the same dtype and shape, which takes the place of the old one or is copied into it, whichever is faster.
    """

    call: Callable[[], None]
    read: Callable[[str, np.ndarray], None]


@dataclass(frozen=True)
class Threads:
    """How many threads a graph may use, and whose pool they come from.

    `private`: each graph has its own, whose idle threads do not spin. `process`: all graphs share one, which is faster
    with more than one thread; it is set once, and then the host application's own sessions must ask for it too.
    """

    count: int = 1
    pool: str = PRIVATE


def check_threads(threads: Threads) -> None:
    """Raise UsageError where `threads` names an unknown pool, or no possible number of threads."""
    if not isinstance(threads.pool, str) or threads.pool not in (PRIVATE, PROCESS):
        raise UsageError(f"unknown pool {shown(threads.pool)}", f"Known pools: {PRIVATE}, {PROCESS}.")
    count = whole(threads.count)
    if count is None or count < 1:
        raise UsageError(f"threads must be at least 1, not {shown(threads.count)}")
    if count > MAX_THREADS:
        raise UsageError(f"threads must be at most {MAX_THREADS}, not {shown(count)}")


class ExecutionContext(NamedTuple):
    """What one call at a time works in. `enter(inputs)` begins it with arrays, which are not copied; `calls[i]()` then
    runs component i; `read(name)` is what a tensor holds by then, good until the next component runs.
    """

    read: Callable[[str], np.ndarray]
    calls: Sequence[Callable[[], None]]
    enter: Callable[[Arrays], None]


class GraphGroup(Protocol):
    """Graphs of one model, their `group`, that keep the tensors of a call among them. So calls take turns: each holds
    `lock` from before it enters a lane until it has read the answer.
    """

    lock: threading.Lock

    def lane(self, graphs: Sequence[Any], constants: Arrays) -> ExecutionContext:
        """A lane of `graphs` in the order they run; `constants` are inputs that stay the same."""


class Graph(Protocol):
    """One opened graph. Tensors are bound by name. `threads` are those it got, which may not be those asked for."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    threads: Threads

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`, each an array of its own. May be called from several threads at once.

        Raises:
            InputError: an array is missing, surplus, or of another dtype or shape.
            BackendError: the graph failed while it ran.
        """

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """The graph with arrays to read and to write, see `BoundCall`.

        Raises:
            InputError: an array is missing, surplus, not C-contiguous, or of another dtype or shape.
        """


def check_arrays(tensors: Mapping[str, Tensor], arrays: Arrays, where: str) -> None:
    """Raise InputError where `arrays` are not what a call can be bound to; a symbol fits every size."""
    if arrays.keys() != tensors.keys():
        raise InputError(f"{where}: expected {sorted(tensors)}, found {sorted(arrays)}")
    for name, want in tensors.items():
        array = arrays[name]
        sizes = zip(want.shape, array.shape)
        known = array.dtype == want.dtype and array.ndim == len(want.shape)
        if not known or any(isinstance(size, int) and size != found for size, found in sizes):
            raise InputError(f"{where}: {name!r} must be {want.dtype} {want.shape}, not {array.dtype} {array.shape}")
        if not array.flags.c_contiguous:
            raise InputError(f"{where}: {name!r} must be contiguous")


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

    def together(self, paths: Sequence[Path], threads: Threads) -> Backend:
        """A backend for these files of one model, whose graphs may share what is faster shared; it may be itself."""
