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
from .base import PRIVATE, Arrays, Bound, Threads, check_arrays, check_threads

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
    """One interpreter. It holds the tensors of a call, so calls from several threads take turns."""

    def __init__(self, interpreter: Any, path: Path, threads: Threads) -> None:
        self._interpreter = interpreter
        self._engine = interpreter._interpreter  # its wrapper would take a microsecond per call
        self._path = path
        self._lock = threading.Lock()
        self.threads = threads
        runner = interpreter.get_signature_runner()
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
        engine, places, results = self._engine, self._places, self._results
        with self._lock:
            for name, array in inputs.items():
                engine.SetTensor(places[name], array)
            try:
                engine.Invoke()
            except (RuntimeError, ValueError) as error:
                raise BackendError(f"{self._path.name}: {_LIBRARY} could not run this graph: {error}") from error
            for name, array in outputs.items():
                # The interpreter's own memory: it may move, so what shows it must not be kept.
                array[...] = engine.tensor(engine, results[name])


class LitertBackend:
    """Opens `.tflite` files with one signature. Their batch size is fixed."""

    name = _LIBRARY
    version = metadata.version(_LIBRARY)
    suffix = "tflite"

    def open(self, path: Path, threads: Threads) -> LitertGraph:
        """Load `path`, as the protocol says."""
        check_threads(threads)
        # The interpreter has no pool to share; with one thread there is nothing to share anyway.
        granted = Threads(threads.count, PRIVATE)
        try:
            data = Path(path).read_bytes()
            interpreter = _litert.Interpreter(model_content=data, num_threads=granted.count)
            interpreter.allocate_tensors()
            return LitertGraph(interpreter, Path(path), granted)
        except (OSError, ValueError, RuntimeError) as error:
            raise BackendError(f"{path}: {_LIBRARY} cannot load this graph: {error}") from error


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    return Tensor(np.dtype(detail["dtype"]).name, tuple(int(size) for size in detail["shape"]))


BACKEND = LitertBackend()
