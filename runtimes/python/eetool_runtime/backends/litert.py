"""LiteRT behind the backend protocol: `ai_edge_litert` where it is installed, else the older `tflite_runtime`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BackendError, InputError
from ..manifest import Tensor
from .base import PRIVATE, Threads, check_threads

try:
    from ai_edge_litert import interpreter as _litert

    _LIBRARY = "ai-edge-litert"
except ImportError:
    from tflite_runtime import interpreter as _litert

    _LIBRARY = "tflite-runtime"


class LitertGraph:
    """One interpreter. It holds the tensors of a call, so calls from several threads take turns."""

    def __init__(self, runner: Any, path: Path, threads: Threads) -> None:
        self._runner = runner
        self._path = path
        self._lock = threading.Lock()
        self.threads = threads
        self.inputs = {name: _tensor(detail) for name, detail in runner.get_input_details().items()}
        self.outputs = {name: _tensor(detail) for name, detail in runner.get_output_details().items()}

    def run(self, feed: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`; raises InputError or BackendError."""
        self._check(feed)
        with self._lock:
            try:
                found = self._runner(**feed)
            except (RuntimeError, ValueError) as error:
                raise BackendError(f"{self._path.name}: {_LIBRARY} could not run this graph: {error}") from error
        return [found[name] for name in self.outputs]

    def _check(self, feed: Mapping[str, np.ndarray]) -> None:
        # The interpreter would resize itself to any shape it is given, and answer.
        if feed.keys() != self.inputs.keys():
            raise InputError(f"{self._path.name}: expected inputs {sorted(self.inputs)}, found {sorted(feed)}")
        for name, spec in self.inputs.items():
            array = feed[name]
            if array.dtype != spec.dtype or array.shape != spec.shape:
                raise InputError(
                    f"{self._path.name}: input {name!r} is {spec.dtype} {spec.shape}, not {array.dtype} {array.shape}"
                )


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
            runner = interpreter.get_signature_runner()
        except (OSError, ValueError, RuntimeError) as error:
            raise BackendError(f"{path}: {_LIBRARY} cannot load this graph: {error}") from error
        return LitertGraph(runner, Path(path), granted)


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    return Tensor(np.dtype(detail["dtype"]).name, tuple(int(size) for size in detail["shape"]))


BACKEND = LitertBackend()
