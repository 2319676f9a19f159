"""ONNX Runtime behind the backend protocol, and the one place that knows about its thread pools."""

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
from .side_files import refuse_onnx_side_files

_OPTIONS = ort.RunOptions()
_SMALL = 1 << 16  # bytes, which are copied in less time than they are bound
_POOL_MADE = "onnxruntime's pool of the process was made"
_POOL_HINT = "Fork before anything is loaded with pool='process', or start workers with multiprocessing's `spawn`."
_pool_lock = threading.Lock()
_pool_threads: Optional[int] = None
_pool_origin: Optional[fork_guard.Origin] = None
if hasattr(os, "register_at_fork"):  # a child must not find it held by a thread that it does not have
    os.register_at_fork(
        before=_pool_lock.acquire, after_in_parent=_pool_lock.release, after_in_child=_pool_lock.release
    )

# Nothing but what ends the process: every error is raised as well, and a line of the log would bring names of a graph
# to the terminal as they are.
ort.set_default_logger_severity(4)


class OnnxGraph:
    """An ONNX file in a session of its own."""

    def __init__(self, session: Any, path: Path, threads: Threads) -> None:
        self._session = session
        self._path = path
        self.threads = threads
        self.inputs = {value.name: _tensor(value) for value in session.get_inputs()}
        self.outputs = {value.name: _tensor(value) for value in session.get_outputs()}
        self._output_names = list(self.outputs)
        self._origin = fork_guard.Origin()
        fork_guard.keep(session)

    def run(self, feed: Arrays) -> Sequence[np.ndarray]:
        """Outputs in the order of `outputs`; raises InputError or BackendError."""
        self._origin.check()
        try:
            outputs: Sequence[np.ndarray] = self._session.run(self._output_names, feed)
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            if isinstance(error, InvalidArgument) or set(feed) != set(self.inputs):
                raise InputError(f"{self._path}: onnxruntime refused the input: {error}") from error
            raise BackendError(f"{self._path}: onnxruntime could not run this graph: {error}") from error
        return outputs

    def bind(self, inputs: Arrays, outputs: Arrays) -> BoundCall:
        """As the protocol says, through an IO binding: no array is made or copied by a call."""
        check_arrays(self.inputs, inputs, str(self._path))
        check_arrays(self.outputs, outputs, str(self._path))
        binding = self._session.io_binding()
        kept = {**inputs, **outputs}  # the binding has addresses, and old releases do not keep the arrays alive
        # The library's own wrapper, and options that it makes anew for every call, would cost more than a percent.
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
    """Opens ONNX files on the CPU."""

    name = "onnxruntime"
    version = str(ort.__version__)
    suffix = "onnx"

    def open(self, path: Path, threads: Threads) -> OnnxGraph:
        """Load `path`, as the protocol says."""
        options, shared = session_options(threads)
        if not _is_utf8(path):
            raise BackendError(f"{path}: onnxruntime opens no file whose path is not UTF-8", "Give it another name.")
        refuse_onnx_side_files(path)
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            return OnnxGraph(session, path, Threads(threads.count, PROCESS if shared else PRIVATE))
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise BackendError(f"{path}: onnxruntime {self.version} cannot load this graph: {error}") from error

    def together(self, paths: Sequence[Path], threads: Threads) -> OnnxBackend:
        """Itself: its graphs share a pool of the process."""
        return self


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def session_options(threads: Threads) -> tuple[Any, bool]:
    """How every session here is opened, and whether it draws from the pool of the process.

    Raises:
        BackendError: the process has a pool of another size, or was forked from one that has a pool.
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
    """Set the pool of the process at its first use; True where this session has to draw from it."""
    global _pool_threads, _pool_origin
    check_threads(threads)
    with _pool_lock:
        if _pool_origin is not None:
            _pool_origin.check()
        if _pool_threads is None and threads.pool == PROCESS and threads.count > 1:
            if not hasattr(ort, "set_global_thread_pool_sizes"):
                return False  # before onnxruntime 1.32: private pools that do not spin
            ort.set_global_thread_pool_sizes(threads.count, 1)
            _pool_threads, _pool_origin = threads.count, fork_guard.Origin(_POOL_MADE, _POOL_HINT)
        if _pool_threads is not None and _pool_threads != threads.count:
            raise BackendError(
                f"this process has one pool of {_pool_threads} threads, so {threads.count} cannot be had",
                "Load every model of the process with the same thread count, or use pool='private' from the start.",
            )
        return _pool_threads is not None


def _tensor(value: Any) -> Tensor:
    # onnxruntime gives None for a dimension without a name.
    shape = tuple(size if size is not None else "any" for size in value.shape)
    dtype = value.type[len("tensor(") : -1]
    return Tensor("float32" if dtype == "float" else dtype, shape)


BACKEND = OnnxBackend()
