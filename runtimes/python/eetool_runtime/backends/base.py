"""Interface of a backend, which opens graph files and runs them on named arrays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Protocol

import numpy as np

from ..argument_checks import as_int, short_repr
from ..errors import InputError, UsageError
from ..manifest import Exit, Tensor
from ..records import dataclass

PRIVATE = "private"
PROCESS = "process"
MAX_THREADS = 1024  # as in a manifest

Arrays = Mapping[str, np.ndarray]


class BoundCall(NamedTuple):
    """A graph bound to input and output arrays. One thread at a time may use it; bound calls are independent.

    Attributes:
        call: reads the current inputs and writes the outputs, without allocation. It raises the engine's own errors.
        read: `read(name, array)` replaces an input by a C-contiguous array of the same dtype and shape. The new array
            is bound, or copied into the old one, whichever is faster.
    """

    call: Callable[[], None]
    read: Callable[[str, np.ndarray], None]


@dataclass(frozen=True)
class Threads:
    """Number of threads that a graph may use, and their pool.

    Attributes:
        count: number of threads.
        pool: `private`, one pool per graph, whose idle threads do not spin; or `process`, one pool for all graphs.
            The latter is faster with more than one thread. It is set once, and the sessions of the application must
            then use it as well.
    """

    count: int = 1
    pool: str = PRIVATE


@dataclass(frozen=True)
class ComponentInterface:
    """What a manifest says of one component in one variant.

    Attributes:
        inputs: types of its inputs.
        outputs: types of its outputs.
        exit: the exit that it computes, if any.
        score: gate score of the bundle.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    exit: Optional[Exit]
    score: str


def check_threads(threads: Threads) -> None:
    """Raise UsageError where `threads` has an unknown pool or an invalid count."""
    if not isinstance(threads.pool, str) or threads.pool not in (PRIVATE, PROCESS):
        raise UsageError(f"unknown pool {short_repr(threads.pool)}", f"Known pools: {PRIVATE}, {PROCESS}.")
    count = as_int(threads.count)
    if count is None or count < 1:
        raise UsageError(f"threads must be at least 1, not {short_repr(threads.count)}")
    if count > MAX_THREADS:
        raise UsageError(f"threads must be at most {MAX_THREADS}, not {short_repr(count)}")


class ExecutionContext(NamedTuple):
    """Buffers of one call at a time.

    Attributes:
        read: returns the current value of a tensor, valid until the next component runs.
        calls: `calls[i]()` runs component i.
        enter: begins a call with input arrays, which are not copied.
    """

    read: Callable[[str], np.ndarray]
    calls: Sequence[Callable[[], None]]
    enter: Callable[[Arrays], None]


class GraphGroup(Protocol):
    """Graphs of one model that share the tensors of a call.

    Only one call runs at a time: it holds `lock` from before `ExecutionContext.enter` until its results are read.
    """

    lock: threading.Lock

    def new_context(self, graphs: Sequence[Any], constants: Arrays) -> ExecutionContext:
        """Return a context for `graphs` in execution order; `constants` are inputs that never change."""


class Graph(Protocol):
    """One opened graph. Tensors are bound by name. `threads` may differ from the requested ones."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    threads: Threads

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Return outputs in the order of `outputs`, each a new array. Several threads may call it at once.

        Raises:
            InputError: an array is missing, surplus, or of another dtype or shape.
            BackendError: the graph failed.
        """

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """Bind the graph to input and output arrays, see `BoundCall`.

        Raises:
            InputError: an array is missing, surplus, not C-contiguous, or of another dtype or shape.
        """


def check_arrays(tensors: Mapping[str, Tensor], arrays: Arrays, where: str) -> None:
    """Raise InputError where a call cannot be bound to `arrays`; a symbol matches every size."""
    if arrays.keys() != tensors.keys():
        raise InputError(f"{where}: expected {sorted(tensors)}, found {sorted(arrays)}")
    for name, expected in tensors.items():
        array = arrays[name]
        sizes = zip(expected.shape, array.shape)
        same_kind = array.dtype == expected.dtype and array.ndim == len(expected.shape)
        if not same_kind or any(isinstance(size, int) and size != actual for size, actual in sizes):
            raise InputError(
                f"{where}: {name!r} must be {expected.dtype} {expected.shape}, not {array.dtype} {array.shape}"
            )
        if not array.flags.c_contiguous:
            raise InputError(f"{where}: {name!r} must be contiguous")


class Backend(Protocol):
    """An engine that opens graphs of one file format."""

    name: str
    version: str
    suffix: str

    def open(self, path: Path, threads: Threads) -> Graph:
        """Load `path`.

        Raises:
            BackendError: it cannot be loaded, or this process cannot provide such threads.
            UsageError: `threads` has an unknown pool or an invalid count.
        """

    def open_shared(self, path: Path, threads: Threads) -> Mapping[str, Graph]:
        """Load a file that holds several graphs, by their names, which share an engine. Raises as `open`.

        Only backends of formats with such files have it: TFLite.
        """

    def open_component(self, path: Path, threads: Threads, interface: ComponentInterface) -> Graph:
        """Load a file that does not compute all of a component; the backend computes the rest. Raises as `open`.

        Only backends of formats with such files have it: TFLM.
        """
