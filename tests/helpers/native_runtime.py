"""The native runtime through ctypes, with the names of the Python runtime, so that one test can use both."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np

from eetool_runtime import errors
from eetool_runtime.execution_plan import Band

NO_GATE = -1.0
STATUS = {2: errors.UsageError, 3: errors.BundleError, 4: errors.InputError, 5: errors.BackendError}
DTYPES = {"float32": 1, "int64": 2, "int32": 3, "uint8": 4, "int8": 5, "bool": 6}


class ModelOptions(Structure):
    _fields_ = (
        *(("struct_size", c_size_t), ("variant", c_char_p), ("format", c_char_p), ("engine", c_char_p)),
        *(("threads", c_int32), ("pool", c_int32), ("lazy", c_int32)),
    )


class Watch(Structure):
    _fields_ = (("struct_size", c_size_t), ("low", c_double), ("high", c_double))


class TensorStruct(Structure):
    _fields_ = (
        *(("struct_size", c_size_t), ("dtype", c_int32), ("rank", c_int32), ("shape", POINTER(c_int64))),
        *(("data", c_void_p), ("size_bytes", c_size_t)),
    )


class Image(Structure):
    _fields_ = (
        *(("struct_size", c_size_t), ("pixels", c_void_p), ("size_bytes", c_size_t)),
        *(("height", c_int32), ("width", c_int32), ("channels", c_int32), ("row_bytes", c_int32)),
    )


class RunOptions(Structure):
    _fields_ = (
        *(("struct_size", c_size_t), ("deadline_ms", c_double)),
        *(("min_exit", c_int32), ("reserved", c_int32)),
    )


class ResultStruct(Structure):
    _fields_ = (
        *(("struct_size", c_size_t), ("exit", c_int32), ("label_index", c_int32), ("label", c_char_p)),
        *(("logits", POINTER(c_float)), ("classes", c_size_t), ("confidence", c_double), ("temperature", c_double)),
        *(("latency_ms", c_double), ("macs", c_uint64), ("gated", c_int32), ("late", c_int32)),
    )


class NativeResult:
    """Prediction of the native runtime, with the fields of `eetool_runtime.Result`."""

    def __init__(self, raw: ResultStruct) -> None:
        self.exit, self.index, self.label = raw.exit, raw.label_index, raw.label.decode()
        self.confidence, self.latency_ms, self.macs = raw.confidence, raw.latency_ms, raw.macs
        self.temperature = raw.temperature
        self.gated, self.late = bool(raw.gated), bool(raw.late)
        self.logits = np.array(raw.logits[: raw.classes], np.float32)


class Library:
    """The loaded library with the types of its functions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.functions = functions = ctypes.CDLL(str(path))
        error = POINTER(c_void_p)
        for name, arguments in {
            "ee_model_open": [c_char_p, POINTER(ModelOptions), POINTER(c_void_p), error],
            "ee_model_info_json": [c_void_p, POINTER(c_void_p), error],
            "ee_model_stats_json": [c_void_p, POINTER(c_void_p), error],
            "ee_model_prometheus_text": [c_void_p, POINTER(c_void_p), error],
            "ee_model_use": [c_void_p, c_char_p, POINTER(Watch), error],
            "ee_model_use_thresholds": [c_void_p, POINTER(c_double), c_size_t, POINTER(Watch), error],
            "ee_session_new": [c_void_p, POINTER(c_void_p), error],
            "ee_session_input": [c_void_p, c_char_p, POINTER(TensorStruct), error],
            "ee_session_pixels": [c_void_p, c_char_p, POINTER(Image), error],
            "ee_session_run": [c_void_p, POINTER(RunOptions), POINTER(ResultStruct), error],
        }.items():
            function = getattr(functions, name)
            function.argtypes, function.restype = arguments, c_int32
        for name in ("ee_model_close", "ee_session_free", "ee_error_free", "ee_free"):
            getattr(functions, name).argtypes, getattr(functions, name).restype = [c_void_p], None
        for name in ("ee_error_message", "ee_error_hint"):
            getattr(functions, name).argtypes, getattr(functions, name).restype = [c_void_p], c_char_p
        functions.ee_version.restype = c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that may fail; raises the error of the Python runtime that its status stands for."""
        error = c_void_p()
        status = getattr(self.functions, name)(*arguments, byref(error))
        if status == 0:
            assert error.value is None
            return
        assert error.value is not None
        message = self.functions.ee_error_message(error).decode()
        hint = self.functions.ee_error_hint(error)
        self.functions.ee_error_free(error)
        raise STATUS.get(status, errors.EarlyExitError)(message, hint.decode() if hint else None)

    def text(self, name: str, handle: c_void_p) -> str:
        """Return the text that a function allocates, and free it."""
        text = c_void_p()
        self.call(name, handle, byref(text))
        copied = ctypes.string_at(text.value or 0).decode()
        self.functions.ee_free(text)
        return copied

    def load(
        self,
        path: object,
        *,
        threads: int = 0,
        pool: str = "private",
        backend: str = "auto",
        variant: str = "auto",
        preload: bool = True,
        engine: Path | None = None,
    ) -> NativeModel:
        """Open a bundle, as `eetool_runtime.load`; `engine` is the path of ONNX Runtime's library."""
        options = ModelOptions(
            ctypes.sizeof(ModelOptions),
            None if variant == "auto" else variant.encode(),
            None if backend == "auto" else backend.encode(),
            None if engine is None else str(engine).encode(),
            threads,
            {"private": 0, "process": 1}[pool],
            not preload,
        )
        handle = c_void_p()
        self.call("ee_model_open", str(path).encode(), byref(options), byref(handle))
        return NativeModel(self, handle)


class NativeModel:
    """A model of the native runtime with one session."""

    def __init__(self, library: Library, handle: c_void_p) -> None:
        self.library, self.handle, self.session = library, handle, c_void_p()
        library.call("ee_session_new", handle, byref(self.session))

    def close(self) -> None:
        self.library.functions.ee_model_close(self.handle)

    def __del__(self) -> None:
        self.close()
        self.library.functions.ee_session_free(self.session)

    @property
    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads(self.library.text("ee_model_info_json", self.handle))
        return info

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(self.library.text("ee_model_stats_json", self.handle))
        return stats

    def prometheus(self) -> str:
        return self.library.text("ee_model_prometheus_text", self.handle)

    def use(
        self,
        operating_point: str | None = None,
        *,
        threshold: float | Sequence[float | None] | None = None,
        watch: Band | None = None,
    ) -> None:
        band = None if watch is None else byref(Watch(ctypes.sizeof(Watch), *watch))
        if operating_point is not None:
            self.library.call("ee_model_use", self.handle, operating_point.encode(), band)
            return
        early = self.info["exits"] - 1
        each = threshold if isinstance(threshold, Sequence) else (threshold,) * early
        values = (c_double * len(each))(*(NO_GATE if t is None else t for t in each))
        self.library.call("ee_model_use_thresholds", self.handle, values, len(each), band)

    def set_input(self, name: str | None, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array)
        shape = (c_int64 * array.ndim)(*array.shape)
        dtype = DTYPES.get(array.dtype.name, 99)
        tensor = TensorStruct(
            ctypes.sizeof(TensorStruct), dtype, array.ndim, shape, array.ctypes.data_as(c_void_p), array.nbytes
        )
        self.library.call("ee_session_input", self.session, name and name.encode(), byref(tensor))

    def set_pixels(self, name: str | None, pixels: np.ndarray) -> None:
        pixels = np.ascontiguousarray(pixels)
        height, width, *channels = pixels.shape
        image = Image(
            *(ctypes.sizeof(Image), pixels.ctypes.data_as(c_void_p), pixels.nbytes),
            *(height, width, channels[0] if channels else 1, 0),
        )
        self.library.call("ee_session_pixels", self.session, name and name.encode(), byref(image))

    def run(self, *, deadline_ms: float | None = None, min_exit: int = 0) -> NativeResult:
        """Run the inputs that are set."""
        options = RunOptions(ctypes.sizeof(RunOptions), deadline_ms or 0.0, min_exit, 0)
        result = ResultStruct(ctypes.sizeof(ResultStruct))
        self.library.call("ee_session_run", self.session, byref(options), byref(result))
        return NativeResult(result)

    def __call__(
        self, inputs: np.ndarray | Mapping[str, np.ndarray], *, deadline_ms: float | None = None, min_exit: int = 0
    ) -> NativeResult:
        """Run one input, as `eetool_runtime.Model`."""
        named: Mapping[str | None, np.ndarray] = inputs if isinstance(inputs, Mapping) else {None: inputs}  # type: ignore[assignment]
        for name, array in named.items():
            self.set_input(name, array)
        return self.run(deadline_ms=deadline_ms, min_exit=min_exit)
