"""Backend for ONNX Runtime, with its thread pools."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from .. import fork_guard
from ..errors import BackendError, InputError
from ..manifest import Tensor
from .base import PRIVATE, PROCESS, Arrays, BoundCall, Threads, check_arrays, check_threads
from .side_files import check_onnx_side_files, refuse_onnx_side_files

_OPTIONS = ort.RunOptions()
_SMALL = 1 << 16  # bytes; smaller arrays are copied faster than they are bound
_POOL_MADE = "onnxruntime's pool of the process was created"
_POOL_HINT = "Fork before anything is loaded with pool='process', or start workers with multiprocessing's `spawn`."
_pool_lock = threading.Lock()
_pool_threads: Optional[int] = None
_pool_guard: Optional[fork_guard.ForkGuard] = None
if hasattr(os, "register_at_fork"):  # a child must not inherit it locked by a thread that does not exist there
    os.register_at_fork(
        before=_pool_lock.acquire, after_in_parent=_pool_lock.release, after_in_child=_pool_lock.release
    )

# Log fatal errors alone: all others are raised, and a log line could print unchecked names of a graph to the terminal.
ort.set_default_logger_severity(4)


class OnnxGraph:
    """An ONNX file in its own session."""

    def __init__(self, session: Any, path: Path, threads: Threads) -> None:
        self._session = session
        self._path = path
        self.threads = threads
        self.inputs = {value.name: _tensor(value) for value in session.get_inputs()}
        self.outputs = {value.name: _tensor(value) for value in session.get_outputs()}
        self._output_names = list(self.outputs)
        self._guard = fork_guard.ForkGuard()
        fork_guard.never_free_in_children(session)

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Return outputs in the order of `outputs`; raises InputError or BackendError."""
        self._guard.check()
        try:
            outputs: Sequence[np.ndarray] = self._session.run(self._output_names, feed)
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            if isinstance(error, InvalidArgument) or set(feed) != set(self.inputs):
                raise InputError(f"{self._path}: onnxruntime refused the input: {error}") from error
            raise BackendError(f"{self._path}: onnxruntime could not run this graph: {error}") from error
        return outputs

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """Bind through an IO binding: a call neither allocates nor copies arrays. See `Graph.bind`."""
        check_arrays(self.inputs, inputs, str(self._path))
        check_arrays(self.outputs, outputs, str(self._path))
        binding = self._session.io_binding()
        kept = {**inputs, **outputs}  # the binding holds addresses; old releases do not keep the arrays alive
        # The library's own wrapper creates new options for every call, which costs more than a percent.
        call: Any = partial(self._session._sess.run_with_iobinding, binding._iobinding, _OPTIONS)
        call.kept = kept

        def bind(name: str, array: np.ndarray) -> None:
            binding._iobinding.bind_input(name, array)
            kept[name] = array

        def read(name: str, array: np.ndarray) -> None:
            if array.nbytes > _SMALL:
                bind(name, array)
            else:
                inputs[name][...] = array

        for name, array in inputs.items():
            bind(name, array)
        for name, array in outputs.items():
            binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
        return BoundCall(call, read)


class OnnxBackend:
    """Backend for ONNX files on the CPU."""

    name = "onnxruntime"
    version = str(ort.__version__)
    suffix = "onnx"

    def open(self, path: Path, threads: Threads, side_files: bool = False) -> OnnxGraph:
        """Load `path`, see `Backend.open`; with `side_files` its weights may lie in files beside it."""
        options, shared = session_options(threads)
        if not _is_utf8(path):
            raise BackendError(f"{path}: onnxruntime cannot open a path that is not UTF-8", "Rename the file.")
        (check_onnx_side_files if side_files else refuse_onnx_side_files)(path)
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return OnnxGraph(session, path, Threads(threads.count, PROCESS if shared else PRIVATE))
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise BackendError(f"{path}: onnxruntime {self.version} cannot load this graph: {error}") from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def session_options(threads: Threads) -> tuple[Any, bool]:
    """Return the options of a session, and whether it uses the pool of the process.

    Raises:
        BackendError: the pool of the process has another size, or was created before a fork.
    """
    shared, options = _uses_process_pool(threads), ort.SessionOptions()
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    if shared:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads.count
        # A spinning pool per graph makes the graphs of one cascade fight for the cores (onnxruntime #17011).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options, shared


def _uses_process_pool(threads: Threads) -> bool:
    """Create the pool of the process at its first use; return whether this session has to use it."""
    global _pool_threads, _pool_guard
    check_threads(threads)
    with _pool_lock:
        if _pool_guard is not None:
            _pool_guard.check()
        if _pool_threads is None and threads.pool == PROCESS and threads.count > 1:
            if not hasattr(ort, "set_global_thread_pool_sizes"):
                return False  # before onnxruntime 1.32: private pools that do not spin
            ort.set_global_thread_pool_sizes(threads.count, 1)
            _pool_threads, _pool_guard = threads.count, fork_guard.ForkGuard(_POOL_MADE, _POOL_HINT)
        if _pool_threads is not None and _pool_threads != threads.count:
            raise BackendError(
                f"this process has one pool of {_pool_threads} threads, so {threads.count} cannot be used",
                "Load every model of the process with the same thread count, or use pool='private' from the start.",
            )
        return _pool_threads is not None


def _tensor(value: Any) -> Tensor:
    # onnxruntime returns None for a dimension without a name.
    shape = tuple(size if size is not None else "any" for size in value.shape)
    dtype = value.type[len("tensor(") : -1]
    return Tensor("float32" if dtype == "float" else dtype, shape)


BACKEND = OnnxBackend()
