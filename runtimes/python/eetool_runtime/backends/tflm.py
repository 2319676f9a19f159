"""Backend for TensorFlow Lite for Microcontrollers (TFLM) on a host, with the package `tflite_micro`.

It gives the answers of a microcontroller, for accuracies and decisions. Its times say nothing of one.

Files are fully integer: they take and give int8. Where a manifest declares float32, this backend converts. It also
computes the confidence of an exit, which is no part of its file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

import numpy as np
from tflite_micro import runtime as _tflm

from .. import fork_guard
from ..errors import BackendError, EarlyExitError
from ..manifest import Exit, Tensor
from ..tflite_signature import Signature, SignatureTensor, declared_types, read_signature
from .base import Arrays, BoundCall, ComponentInterface, Threads, check_arrays, check_threads
from .side_files import refuse_tflite_side_files

MAX_SOFTMAX = "max_softmax"
_LIBRARY = "tflite_micro"
_SMALLEST_ARENA, _LARGEST_ARENA = 1 << 18, 1 << 28  # bytes
_SCALAR = Tensor("float32", ())


class TflmGraph:
    """One file. Only one call runs at a time.

    Without an interface every int8 tensor is presented as float32.
    """

    def __init__(self, path: Path, data: bytes, interface: Optional[ComponentInterface]) -> None:
        self.name = path.name
        self.threads = Threads()
        self._signature = read_signature(data)
        self.inputs: Mapping[str, Tensor] = declared_types(self._signature.inputs)
        self.outputs: Mapping[str, Tensor] = declared_types(self._signature.outputs)
        self._exit: Optional[Exit] = None
        if interface is not None:
            self.inputs, self.outputs = _present(self._signature, interface)
            self._exit = interface.exit
        self._interpreter = _open_interpreter(data)
        self._lock = threading.Lock()
        self._guard = fork_guard.ForkGuard()

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Return outputs in the order of `outputs`; raises InputError or BackendError."""
        given = {name: np.asarray(array, order="C") for name, array in feed.items()}
        check_arrays(self.inputs, given, self.name)
        results = self._results(given)
        return [results[name] for name in self.outputs]

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """Bind to arrays, which are copied to and from the interpreter's memory. See `Graph.bind`."""
        check_arrays(self.inputs, inputs, self.name)
        check_arrays(self.outputs, outputs, self.name)
        given = dict(inputs)

        def call() -> None:
            for name, result in self._results(given).items():
                outputs[name][...] = result

        return BoundCall(call, given.__setitem__)

    def _results(self, given: Arrays) -> dict[str, np.ndarray]:
        self._guard.check()
        with self._lock:
            results = self._invoke(given)
        if self._exit is not None:
            own = self._exit
            results[own.confidence] = max_softmax(results[own.logits], given[own.temperature])
        return results

    def _invoke(self, given: Arrays) -> dict[str, np.ndarray]:
        try:
            for name, stored in self._signature.inputs.items():
                self._interpreter.set_input(_inwards(given[name], stored), stored.position)
            self._interpreter.invoke()
            read = self._interpreter.get_output
            stored_outputs = self._signature.outputs.items()
            return {name: _outwards(read(s.position), s, self.outputs[name]) for name, s in stored_outputs}
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"{self.name}: {_LIBRARY} could not run this graph: {error}") from error


def max_softmax(logits: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Return the largest probability (1,) of logits (1, classes) at a temperature, in float32."""
    shifted = (logits - logits.max(1, keepdims=True)) / temperature
    confidence: np.ndarray = np.float32(1) / np.exp(shifted).sum(1)
    return confidence


class TflmBackend:
    """Backend for `.tflm` files, which are TFLite files of operators that TFLM has. Their batch size is fixed."""

    name = _LIBRARY
    version = metadata.version(_LIBRARY)
    suffix = "tflm"

    def open(self, path: Path, threads: Threads) -> TflmGraph:
        """Load `path`, see `Backend.open`; TFLM uses one thread whatever is asked for."""
        return _open(path, threads, None)

    def open_component(self, path: Path, threads: Threads, interface: ComponentInterface) -> TflmGraph:
        """Load the file of a component, see `Backend.open_component`."""
        return _open(path, threads, interface)


def _open(path: Path, threads: Threads, interface: Optional[ComponentInterface]) -> TflmGraph:
    check_threads(threads)
    with _errors_of(path):
        data = path.read_bytes()
        refuse_tflite_side_files(path, data)
        return TflmGraph(path, data, interface)


def _present(signature: Signature, interface: ComponentInterface) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return inputs and outputs of the whole component; raises ValueError where the file is not fully integer."""
    sides = []
    for stored_side, declared_side in ((signature.inputs, interface.inputs), (signature.outputs, interface.outputs)):
        side = {}
        for name, stored in stored_side.items():
            if stored.quantization is None:
                raise ValueError(f"{name!r} is {stored.tensor.dtype}; files for microcontrollers take and give int8")
            declared = declared_side.get(name, stored.tensor)
            side[name] = Tensor("float32", stored.tensor.shape) if declared.dtype == "float32" else stored.tensor
        sides.append(side)
    if interface.exit is not None:
        if interface.score != MAX_SOFTMAX or interface.exit.slope is not None:
            raise ValueError(f"its exits need the gate score {MAX_SOFTMAX} without Platt scaling")
        sides[0][interface.exit.temperature] = _SCALAR
        sides[1][interface.exit.confidence] = Tensor("float32", (1,))
    return sides[0], sides[1]


def _inwards(array: np.ndarray, stored: SignatureTensor) -> np.ndarray:
    if stored.quantization is None or array.dtype == np.int8:
        return array
    return stored.quantization.quantize(array)


def _outwards(array: np.ndarray, stored: SignatureTensor, presented: Tensor) -> np.ndarray:
    if stored.quantization is None or presented.dtype == "int8":
        return array.copy()
    return stored.quantization.dequantize(array)


def _open_interpreter(data: bytes) -> Any:
    """Return an interpreter with room for all tensors. TFLM does not tell how much it needs before it has enough."""
    size = max(_SMALLEST_ARENA, 4 * len(data))
    while True:
        try:
            return _tflm.Interpreter.from_bytes(data, arena_size=size)
        except RuntimeError:
            if size >= _LARGEST_ARENA:
                raise
            size = min(16 * size, _LARGEST_ARENA)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except EarlyExitError:
        raise
    except Exception as error:  # a damaged file raises unrelated types
        raise BackendError(f"{path}: {_LIBRARY} cannot load this graph: {error}") from error


BACKEND = TflmBackend()
