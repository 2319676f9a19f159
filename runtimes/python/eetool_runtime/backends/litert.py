"""LiteRT behind the backend protocol: `ai_edge_litert` where it is installed, else the older `tflite_runtime`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .. import fork_guard
from ..errors import BackendError
from ..manifest import Tensor
from .base import Arrays, BoundCall, ExecutionContext, Threads, check_arrays, check_threads
from .side_files import refuse_tflite_side_files

try:
    from ai_edge_litert import interpreter as _litert

    _LIBRARY = "ai-edge-litert"
except ImportError:
    if not np.__version__.startswith("1."):
        # It would crash at the first graph, and not here.
        raise ImportError(f"tflite-runtime needs numpy 1, and numpy {np.__version__} is installed") from None
    from tflite_runtime import interpreter as _litert

    _LIBRARY = "tflite-runtime"


class LitertGroup:
    """The graphs of one interpreter, which holds the tensors of a call: calls from several threads take turns."""

    def __init__(self, data: bytes, threads: int) -> None:
        self.interpreter = _litert.Interpreter(model_content=data, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.engine = self.interpreter._interpreter  # its wrapper would take a microsecond per call
        self.lock = threading.Lock()
        self.entered: object = None  # by whom: the constants are theirs
        self.origin = fork_guard.Origin()

    def lane(self, graphs: Sequence[LitertGraph], constants: Arrays) -> ExecutionContext:
        """As the protocol says: a tensor is copied once, from where it is made to where it is read."""
        engine, calls = self.engine, []
        given: dict[str, np.ndarray] = {}
        made: dict[str, tuple[int, int]] = {}
        shapes = {name: tensor.shape for g in graphs for name, tensor in g.outputs.items()}
        fixed: list[tuple[int, np.ndarray, int]] = []
        for g in graphs:
            fixed += [(place, constants[name], g.subgraph) for name, place in g.places.items() if name in constants]
            inside = [(place, *made[name]) for name, place in g.places.items() if name in made]
            outside = [(place, name) for name, place in g.places.items() if name not in {**constants, **made}]
            calls.append(partial(self._call, g.name, g.subgraph, given, outside, inside))
            made.update((name, (place, g.subgraph)) for name, place in g.results.items())

        def enter(inputs: Arrays) -> None:
            given.update(inputs)
            if self.entered is not given:
                for constant in fixed:
                    engine.SetTensor(*constant)
                self.entered = given

        def read(name: str) -> np.ndarray:
            array: np.ndarray = engine.tensor(engine, *made[name])
            if array.shape != shapes[name]:  # a size that depends on values
                raise BackendError(f"{name!r} is {array.shape}, not {shapes[name]}")
            return array

        return ExecutionContext(read, calls, enter)

    def _call(
        self,
        name: str,
        subgraph: int,
        given: Arrays,
        outside: Iterable[tuple[int, str]],
        inside: Iterable[tuple[int, int, int]],
    ) -> None:
        """Run a graph on what was `given` and on tensors of the group: (place, where it was made, subgraph) each."""
        engine = self.engine
        for place, tensor in outside:
            engine.SetTensor(place, given[tensor], subgraph)
        for place, result, maker in inside:
            # `tensor` shows the interpreter's own memory, which may move: not to be kept.
            engine.SetTensor(place, engine.tensor(engine, result, maker), subgraph)
        try:
            engine.Invoke(subgraph)
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"{name}: {_LIBRARY} could not run this graph: {error}") from error


class LitertGraph:
    """A signature of an interpreter."""

    def __init__(self, group: LitertGroup, path: Path, threads: Threads, key: Any = None) -> None:
        self.group = group
        self.name = path.name
        self.threads = threads
        runner = group.interpreter.get_signature_runner(key)
        self.subgraph = runner._subgraph_index
        group.engine.AllocateTensors(self.subgraph)
        reads, makes = runner.get_input_details(), runner.get_output_details()
        self.inputs = {name: _tensor(detail) for name, detail in reads.items()}
        self.outputs = {name: _tensor(detail) for name, detail in makes.items()}
        self.places = {name: detail["index"] for name, detail in reads.items()}
        self.results = {name: detail["index"] for name, detail in makes.items()}
        self._lane = group.lane([self], {})

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`; raises InputError or BackendError."""
        given = {name: np.asarray(array, order="C") for name, array in feed.items()}
        check_arrays(self.inputs, given, self.name)
        self.group.origin.check()
        with self.group.lock:
            self._run(given)
            return [self._lane.read(name).copy() for name in self.outputs]

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """As the protocol says, but arrays are copied into the interpreter's memory and out of it."""
        check_arrays(self.inputs, inputs, self.name)
        check_arrays(self.outputs, outputs, self.name)
        given = dict(inputs)

        def call() -> None:
            self.group.origin.check()
            with self.group.lock:
                self._run(given)
                for name, array in outputs.items():
                    array[...] = self._lane.read(name)

        return BoundCall(call, given.__setitem__)

    def _run(self, given: Arrays) -> None:
        self._lane.enter(given)
        self._lane.calls[0]()


class LitertBackend:
    """Opens `.tflite` files with one signature. Their batch size is fixed."""

    name = _LIBRARY
    version = metadata.version(_LIBRARY)
    suffix = "tflite"

    def __init__(self, joined: Mapping[Path, LitertGraph]) -> None:
        self._joined = joined

    def open(self, path: Path, threads: Threads) -> LitertGraph:
        """Load `path`, as the protocol says."""
        check_threads(threads)
        if path in self._joined:
            return self._joined[path]
        try:
            # It has no pool to share with others; with one thread there is nothing to share anyway.
            data = path.read_bytes()
            refuse_tflite_side_files(path, data)
            return LitertGraph(LitertGroup(data, threads.count), path, Threads(threads.count))
        except BackendError:
            raise
        except Exception as error:  # a damaged file raises whatever it meets
            raise BackendError(f"{path}: {_LIBRARY} cannot load this graph: {error}") from error

    def together(self, paths: Sequence[Path], threads: Threads) -> LitertBackend:
        """As the protocol says: in one interpreter, with one pool, as docs/decisions/0024 tells.

        Then calls take turns too, so with one thread graphs stay apart unless they are asked to share.
        """
        if threads == Threads():
            return self
        try:
            group, granted = LitertGroup(_join(paths), threads.count), Threads(threads.count)
            return LitertBackend({p: LitertGraph(group, p, granted, str(p)) for p in paths})
        except Exception:  # an older library, or a bad file, of which `open` will say what it is
            return self


def _join(paths: Sequence[Path]) -> bytes:
    """One file with a signature for each of `paths`; raises whatever it may where they are not of one graph each."""
    from ai_edge_litert.schema_py_generated import Model, ModelT
    from flatbuffers import Builder

    class Aligned(Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: np.ndarray) -> int:
            self.Prep(16, x.nbytes)  # as the schema asks for weights
            return int(super().CreateNumpyVector(x))

    whole = ModelT()
    whole.version, whole.buffers, whole.operatorCodes, whole.subgraphs, whole.signatureDefs = 3, [], [], [], []
    for path in paths:
        data = path.read_bytes()
        refuse_tflite_side_files(path, data)
        _litert.Interpreter(model_content=data)  # refuses a flatbuffer that is unsound or unfolds without end
        model = ModelT.InitFromObj(Model.GetRootAs(data))
        (graph,), (signature,) = model.subgraphs, model.signatureDefs
        if any(buffer.offset for buffer in model.buffers):
            raise ValueError("weights behind the flatbuffer")
        for tensor in graph.tensors:
            tensor.buffer += len(whole.buffers)
        for operator in graph.operators:
            operator.opcodeIndex += len(whole.operatorCodes)
        signature.signatureKey, signature.subgraphIndex = str(path), len(whole.subgraphs)
        whole.buffers += model.buffers
        whole.operatorCodes += model.operatorCodes
        whole.subgraphs.append(graph)
        whole.signatureDefs.append(signature)
    builder = Aligned(0)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    return Tensor(np.dtype(detail["dtype"]).name, tuple(int(size) for size in detail["shape"]))


BACKEND = LitertBackend({})
