"""LiteRT behind the backend protocol: `ai_edge_litert` where it is installed, else the older `tflite_runtime`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import BackendError
from ..manifest import Tensor
from .base import Arrays, Bound, Threads, check_arrays, check_threads

try:
    from ai_edge_litert import interpreter as _litert

    _LIBRARY = "ai-edge-litert"
except ImportError:
    if not np.__version__.startswith("1."):
        # It would crash at the first graph, and not here.
        raise ImportError(f"tflite-runtime needs numpy 1, and numpy {np.__version__} is installed") from None
    from tflite_runtime import interpreter as _litert

    _LIBRARY = "tflite-runtime"


class LitertGraph:
    """A signature of an interpreter, which holds the tensors of a call: calls from several threads take turns."""

    def __init__(self, interpreter: Any, lock: threading.Lock, path: Path, threads: Threads, key: Any = None) -> None:
        self._interpreter = interpreter
        self._engine = interpreter._interpreter  # its wrapper would take a microsecond per call
        self._path = path
        self._lock = lock
        self.threads = threads
        runner = interpreter.get_signature_runner(key)
        self._subgraph = runner._subgraph_index
        self._engine.AllocateTensors(self._subgraph)
        reads, makes = runner.get_input_details(), runner.get_output_details()
        self.inputs = {name: _tensor(detail) for name, detail in reads.items()}
        self.outputs = {name: _tensor(detail) for name, detail in makes.items()}
        self._places = {name: detail["index"] for name, detail in reads.items()}
        self._results = {name: detail["index"] for name, detail in makes.items()}

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`; raises InputError or BackendError."""
        outputs = {name: np.empty(cast("tuple[int, ...]", t.shape), t.dtype) for name, t in self.outputs.items()}
        self.bind({name: np.asarray(array, order="C") for name, array in feed.items()}, outputs).call()
        return list(outputs.values())

    def bind(self, inputs: Arrays, outputs: Arrays) -> Bound:
        """As the protocol says, but arrays are copied into the interpreter's memory and out of it."""
        check_arrays(self.inputs, inputs, self._path.name)
        check_arrays(self.outputs, outputs, self._path.name)
        reads = dict(inputs)
        return Bound(partial(self._call, reads, outputs), reads.__setitem__)

    def _call(self, inputs: Arrays, outputs: Arrays) -> None:
        engine, subgraph, places, results = self._engine, self._subgraph, self._places, self._results
        with self._lock:
            for name, array in inputs.items():
                engine.SetTensor(places[name], array, subgraph)
            try:
                engine.Invoke(subgraph)
            except (RuntimeError, ValueError) as error:
                raise BackendError(f"{self._path.name}: {_LIBRARY} could not run this graph: {error}") from error
            for name, array in outputs.items():
                # The interpreter's own memory: it may move, so what shows it must not be kept.
                array[...] = engine.tensor(engine, results[name], subgraph)


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
            interpreter = _interpreter(Path(path).read_bytes(), threads.count)
            # It has no pool to share with others; with one thread there is nothing to share anyway.
            return LitertGraph(interpreter, threading.Lock(), Path(path), Threads(threads.count))
        except (OSError, ValueError, RuntimeError) as error:
            raise BackendError(f"{path}: {_LIBRARY} cannot load this graph: {error}") from error

    def together(self, paths: Sequence[Path], threads: Threads) -> LitertBackend:
        """As the protocol says: in one interpreter, with one pool, as docs/decisions/0024 tells.

        Then calls take turns too, so with one thread graphs stay apart unless they are asked to share.
        """
        if threads == Threads():
            return self
        try:
            interpreter = _interpreter(_join(paths), threads.count)
            lock, granted = threading.Lock(), Threads(threads.count)
            return LitertBackend({p: LitertGraph(interpreter, lock, p, granted, str(p)) for p in paths})
        except Exception:  # an older library, or a bad file, of which `open` will say what it is
            return self


def _interpreter(data: bytes, threads: int) -> Any:
    interpreter = _litert.Interpreter(model_content=data, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


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
