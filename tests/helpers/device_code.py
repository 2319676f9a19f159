"""The C++ source of a cascade, compiled against a small stand-in of TFLM whose graphs LiteRT runs in this process."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eetool.microcontroller.cascade import DeviceCascade, DeviceComponent

SHIM = Path(__file__).parent / "tflm_shim"
FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-DTF_LITE_STATIC_MEMORY",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-Wall",
    "-Wextra",
    "-Werror",
)
_GARBAGE = 0xA5
_END_BYTES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_POINTERS = ctypes.POINTER(ctypes.c_void_p)
_RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _POINTERS, _POINTERS, ctypes.c_void_p, ctypes.c_size_t)


class _Shim(ctypes.Structure):
    _fields_ = (("end_bytes", _END_BYTES), ("run", _RUN))


class _Result(ctypes.Structure):
    _fields_ = (("class_index", ctypes.c_int), ("exit_index", ctypes.c_int), ("confidence", ctypes.c_float))


@dataclass(frozen=True)
class Answer:
    """Answer to one input."""

    label: int
    exit: int
    confidence: float


def missing_compiler() -> str | None:
    """Return what is missing to compile the source, or None."""
    return None if shutil.which("g++") else "no C++ compiler g++"


def compile_objects(source: Path, build: Path, flags: Sequence[str] = ()) -> list[Path]:
    """Compile every .cc file of a source folder to an object file; raises AssertionError with what g++ said."""
    objects = []
    for file in sorted((source / "src").glob("*.cc")):
        objects.append(build / f"{file.stem}.o")
        run("g++", *FLAGS, *flags, "-isystem", str(SHIM), "-c", str(file), "-o", str(objects[-1]))
    return objects


def run(*command: str) -> str:
    """Return what a program prints; raises AssertionError with its errors where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


class DeviceCode:
    """The compiled source, and the graphs behind its interpreters."""

    def __init__(
        self, source: Path, prefix: str, cascade: DeviceCascade, build: Path, flags: Sequence[str] = ()
    ) -> None:
        library = build / f"lib{prefix}.so"
        objects = [str(path) for path in compile_objects(source, build, flags)]
        run("g++", *FLAGS, "-I", str(SHIM), "-shared", *objects, str(SHIM / "shim.cc"), "-o", str(library))
        self._library, self._prefix = ctypes.CDLL(str(library)), prefix
        self._graphs = {c.graph: LitertGraph(c) for c in cascade.components}
        self.ran: list[str] = []  # components of the last call
        self._shim = _Shim(_END_BYTES(self._end_bytes), _RUN(self._run))
        _Shim.in_dll(self._library, "tflm_shim").end_bytes = self._shim.end_bytes
        _Shim.in_dll(self._library, "tflm_shim").run = self._shim.run

    def init(self) -> int:
        """Call `init`; return its status."""
        return int(self._call("init"))

    def select(self, point: int) -> int:
        """Call `select`; return its status."""
        return int(self._call("select", point))

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Return float32 values as the source quantises them, int8."""
        function = self._function("quantize")
        function.argtypes, function.restype = [ctypes.c_int, ctypes.c_float], ctypes.c_int8
        return np.array([function(0, float(x)) for x in values.ravel()], np.int8)

    def answer(self, values: np.ndarray) -> Answer:
        """Return the answer to a float32 input."""
        place = self._function("input")
        place.restype = ctypes.c_void_p
        data = self.quantize(values).tobytes()
        ctypes.memmove(place(0), data, len(data))
        self.ran.clear()
        result = _Result()
        status = self._call("run", ctypes.byref(result))
        assert status == 0, f"status {status}"
        return Answer(result.class_index, result.exit_index, result.confidence)

    def used(self) -> tuple[int, int]:
        """Return the bytes that the components use of both memories."""
        names = (f"{self._prefix}_working_used", f"{self._prefix}_persistent_used")
        working, persistent = (ctypes.c_size_t.in_dll(self._library, name).value for name in names)
        return working, persistent

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self._prefix}_{name}")

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._function(name)(*arguments)

    def _graph(self, address: int) -> LitertGraph:
        return next(g for data, g in self._graphs.items() if ctypes.string_at(address, len(data)) == data)

    def _end_bytes(self, address: int, is_input: int, position: int) -> int:
        ends = self._graph(address).component.reads if is_input else self._graph(address).component.writes
        return ends[position].size_bytes if position < len(ends) else 0

    def _run(self, address: int, inputs: Any, outputs: Any, working: int, working_bytes: int) -> int:
        graph = self._graph(address)
        self.ran.append(graph.component.name)
        given = [
            np.frombuffer(ctypes.string_at(inputs[i], port.size_bytes), np.int8)
            for i, port in enumerate(graph.component.reads)
        ]
        results = graph.run(given)
        ctypes.memset(working, _GARBAGE, working_bytes)
        for i, result in enumerate(results):
            ctypes.memmove(outputs[i], result.tobytes(), result.nbytes)
        return 0


class LitertGraph:
    """A graph of a component in LiteRT, int8 in and out, in the order of its ports."""

    def __init__(self, component: DeviceComponent) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.component = component
        self._interpreter = Interpreter(model_content=component.graph, num_threads=1)
        self._interpreter.allocate_tensors()

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the outputs for flat inputs."""
        for detail, array in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array.reshape(detail["shape"]))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(d["index"]) for d in self._interpreter.get_output_details()]


def expected_answer(cascade: DeviceCascade, point: int, values: np.ndarray) -> Answer:
    """Return the answer of a cascade to a float32 input, computed with LiteRT and numpy."""
    tensors = {port.tensor: _quantize(values, port.scale, port.zero_point) for port in cascade.inputs}
    chosen = cascade.points[point]
    for i, component in enumerate(cascade.components):
        if i not in chosen.runs:
            continue
        results = LitertGraph(component).run([tensors[port.tensor] for port in component.reads])
        tensors |= {port.tensor: x.ravel() for port, x in zip(component.writes, results, strict=True)}
        if component.exit is not None:
            end = component.exit.logits
            logits = (tensors[end.tensor].astype(np.int32) - end.zero_point).astype(np.float32) * np.float32(end.scale)
            powers = np.exp((logits - logits.max()) / np.float32(component.exit.temperature))
            confidence = float(np.float32(1) / powers.sum())
            if confidence >= chosen.thresholds[component.exit.index]:
                return Answer(int(logits.argmax()), component.exit.index, confidence)
    raise AssertionError("the final exit always fires")


def _quantize(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    steps = values.ravel() / np.float32(scale)
    rounded = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps) + np.float32(zero_point)
    return np.clip(rounded, -128, 127).astype(np.int8)
