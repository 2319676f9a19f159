"""Backend for LiteRT: `ai_edge_litert` where it is installed, else the older `tflite_runtime`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .. import fork_guard
from ..errors import BackendError, EarlyExitError
from ..manifest import Tensor
from .base import Arrays, BoundCall, ExecutionContext, Threads, check_arrays, check_threads
from .side_files import refuse_tflite_side_files

try:
    from ai_edge_litert import interpreter as _litert

    _LIBRARY = "ai-edge-litert"
except ImportError:
    if not np.__version__.startswith("1."):
        # Refused here, because it would crash at the first graph.
        raise ImportError(f"tflite-runtime needs numpy 1, and numpy {np.__version__} is installed") from None
    from tflite_runtime import interpreter as _litert

    _LIBRARY = "tflite-runtime"


class LitertGroup:
    """The graphs of one interpreter, which holds the tensors of a call. Only one call runs at a time."""

    def __init__(self, data: bytes, threads: int) -> None:
        self.interpreter = _litert.Interpreter(model_content=data, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.engine = self.interpreter._interpreter  # its wrapper adds a microsecond per call
        self.lock = threading.Lock()
        self.current: object = None  # the context whose constants are set
        self.guard = fork_guard.ForkGuard()

    def new_context(self, graphs: Sequence[LitertGraph], constants: Arrays) -> ExecutionContext:
        """Return a context in which a tensor is copied once, from its producer to its reader. See `GraphGroup`."""
        engine, calls = self.engine, []
        given: dict[str, np.ndarray] = {}
        produced: dict[str, tuple[int, int]] = {}  # tensor: (index, subgraph)
        shapes = {name: tensor.shape for g in graphs for name, tensor in g.outputs.items()}
        fixed: list[tuple[int, np.ndarray, int]] = []
        for g in graphs:
            reads = g.input_indices.items()
            fixed += [(index, constants[name], g.subgraph) for name, index in reads if name in constants]
            internal = [(index, *produced[name]) for name, index in reads if name in produced]
            external = [(index, name) for name, index in reads if name not in {**constants, **produced}]
            calls.append(partial(self._call, g.name, g.subgraph, given, external, internal))
            produced.update((name, (index, g.subgraph)) for name, index in g.output_indices.items())

        def enter(inputs: Arrays) -> None:
            given.update(inputs)
            if self.current is not given:
                for constant in fixed:
                    engine.SetTensor(*constant)
                self.current = given

        def read(name: str) -> np.ndarray:
            array: np.ndarray = engine.tensor(engine, *produced[name])
            if array.shape != shapes[name]:  # a size that depends on values
                raise BackendError(f"{name!r} is {array.shape}, not {shapes[name]}")
            return array

        return ExecutionContext(read, calls, enter)

    def _call(
        self,
        name: str,
        subgraph: int,
        given: Arrays,
        external: Iterable[tuple[int, str]],
        internal: Iterable[tuple[int, int, int]],
    ) -> None:
        """Run a graph.

        Args:
            name: of the file, for messages.
            subgraph: its index in the interpreter.
            given: input arrays of the call.
            external: (tensor index, name in `given`) of each input from outside.
            internal: (tensor index, index at its producer, subgraph of its producer) of each input from the group.
        """
        engine = self.engine
        for index, tensor in external:
            engine.SetTensor(index, given[tensor], subgraph)
        for index, source, producer in internal:
            # `tensor` is a view of the interpreter's own memory, which may move, so it is not kept.
            engine.SetTensor(index, engine.tensor(engine, source, producer), subgraph)
        try:
            engine.Invoke(subgraph)
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"{name}: {_LIBRARY} could not run this graph: {error}") from error


class LitertGraph:
    """One signature of an interpreter."""

    def __init__(self, group: LitertGroup, path: Path, threads: Threads, key: Any = None) -> None:
        self.group = group
        self.name = path.name
        self.threads = threads
        runner = group.interpreter.get_signature_runner(key)
        self.subgraph = runner._subgraph_index
        group.engine.AllocateTensors(self.subgraph)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self.inputs = {name: _tensor(detail) for name, detail in inputs.items()}
        self.outputs = {name: _tensor(detail) for name, detail in outputs.items()}
        self.input_indices = {name: detail["index"] for name, detail in inputs.items()}
        self.output_indices = {name: detail["index"] for name, detail in outputs.items()}
        self._context = group.new_context([self], {})

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Return outputs in the order of `outputs`; raises InputError or BackendError."""
        given = {name: np.asarray(array, order="C") for name, array in feed.items()}
        check_arrays(self.inputs, given, self.name)
        self.group.guard.check()
        with self.group.lock:
            self._run(given)
            return [self._context.read(name).copy() for name in self.outputs]

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """Bind to arrays, which are copied to and from the interpreter's memory. See `Graph.bind`."""
        check_arrays(self.inputs, inputs, self.name)
        check_arrays(self.outputs, outputs, self.name)
        given = dict(inputs)

        def call() -> None:
            self.group.guard.check()
            with self.group.lock:
                self._run(given)
                for name, array in outputs.items():
                    array[...] = self._context.read(name)

        return BoundCall(call, given.__setitem__)

    def _run(self, given: Arrays) -> None:
        self._context.enter(given)
        self._context.calls[0]()


class LitertBackend:
    """Backend for `.tflite` files. Their batch size is fixed."""

    name = _LIBRARY
    version = metadata.version(_LIBRARY)
    suffix = "tflite"

    def open(self, path: Path, threads: Threads) -> LitertGraph:
        """Load `path`, which has one signature, see `Backend.open`."""
        with _errors_of(path):
            return LitertGraph(_open_group(path, threads), path, Threads(threads.count))

    def open_shared(self, path: Path, threads: Threads) -> Mapping[str, LitertGraph]:
        """Load the graphs of `path` by the names of their signatures, see `Backend.open_shared`.

        They share one interpreter, and so one pool of threads; only one call runs at a time.
        """
        with _errors_of(path):
            group = _open_group(path, threads)
            names = group.interpreter.get_signature_list()
            return {name: LitertGraph(group, path, Threads(threads.count), name) for name in names}


def _open_group(path: Path, threads: Threads) -> LitertGroup:
    check_threads(threads)
    data = path.read_bytes()
    refuse_tflite_side_files(path, data)
    return LitertGroup(data, threads.count)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except EarlyExitError:
        raise
    except Exception as error:  # a damaged file raises unrelated types
        raise BackendError(f"{path}: {_LIBRARY} cannot load this graph: {error}") from error


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    return Tensor(np.dtype(detail["dtype"]).name, tuple(int(size) for size in detail["shape"]))


BACKEND = LitertBackend()
