"""A bundle for microcontrollers of small int8 graphs, written operator by operator: no converter is needed.

Two segments and two exits. With `skips`, the second segment also reads the model's input and a second output of the
first one, so that several tensors wait between components. With `joined`, the first exit is in its segment's graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from eetool.graphs.tflite_graph import schema
from eetool_measure.records import encode
from eetool_runtime.manifest import (
    SCHEMA_VERSION,
    Component,
    Exit,
    Expected,
    File,
    GraphFile,
    Input,
    Manifest,
    OperatingPoint,
    Tensor,
    Variant,
)
from tests.helpers.tiny_bundle import write_manifest

VARIANT = "tflm/int8"
LABELS = ("up", "down", 'a "quoted" one', "größer")
TEMPERATURES = (1.5, 0.75)
POINTS = {"full": None, "balanced": 0.7, "most-eager": 0.5}
SIZES = {"input": 20, "h0": 48, "g0": 16, "h1": 24, "exit0_logits": 4, "exit1_logits": 4}
SCALES = {"input": 0.05, "h0": 0.08, "g0": 0.06, "h1": 0.1, "exit0_logits": 0.11, "exit1_logits": 0.09}
_WEIGHT_SCALE = 0.01


class Int8Graph:
    """TFLite graph of int8 tensors under construction; tensors are known by their names."""

    def __init__(self, seed: int) -> None:
        self._s = schema()
        self._random = np.random.default_rng(seed)
        self._tensors: dict[str, Any] = {}
        self._buffers = [self._s.BufferT()]  # the first is the empty one
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}

    def dense(self, source: str, target: str, relu: bool = False) -> None:
        """Add a fully connected layer with random weights."""
        inputs, outputs = SIZES[source], SIZES[_plain(target)]
        weights = self._random.integers(-127, 128, (outputs, inputs), np.int8)
        bias = self._random.integers(-2000, 2000, outputs, np.int32)
        reads = [self.tensor(source), self._constant(weights, _WEIGHT_SCALE)]
        reads.append(self._constant(bias, np.float32(SCALES[source]) * np.float32(_WEIGHT_SCALE)))
        activation = self._s.ActivationFunctionType.RELU if relu else 0
        self._add("FULLY_CONNECTED", reads, target, "FullyConnectedOptions", activation)

    def add(self, one: str, other: str, target: str) -> None:
        """Add a sum of two tensors."""
        self._add("ADD", [self.tensor(one), self.tensor(other)], target, "AddOptions", 0)

    def tensor(self, name: str) -> int:
        """Return the index of an activation, which is created on its first use."""
        if name not in self._tensors:
            plain = _plain(name)
            self._tensors[name] = self._make_tensor(name, (1, SIZES[plain]), "INT8", SCALES[plain], -4)
        return list(self._tensors).index(name)

    def pack(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """Return the file, with a signature that names inputs and outputs."""
        import flatbuffers

        s, graph, model = self._s, self._s.SubGraphT(), self._s.ModelT()
        graph.tensors, graph.operators = list(self._tensors.values()), self._operators
        graph.inputs, graph.outputs = (
            np.array([self.tensor(name) for name in side], np.int32) for side in (inputs, outputs)
        )
        model.version, model.description, model.subgraphs, model.buffers = 3, b"test", [graph], self._buffers
        model.operatorCodes = [self._operator_code(op) for op in self._codes]
        signature = s.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = (
            [self._tensor_map(name) for name in sorted(side)] for side in (inputs, outputs)
        )
        model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add(self, op: str, reads: list[int], target: str, options: str, activation: int) -> None:
        operator = self._s.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(op, len(self._codes))
        operator.inputs = np.array(reads, np.int32)
        operator.outputs = np.array([self.tensor(target)], np.int32)
        operator.builtinOptionsType = getattr(self._s.BuiltinOptions, options)
        operator.builtinOptions = getattr(self._s, f"{options}T")()
        operator.builtinOptions.fusedActivationFunction = activation
        self._operators.append(operator)

    def _constant(self, values: np.ndarray, scale: float) -> int:
        buffer = self._s.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        kind, name = values.dtype.name.upper(), f"constant{len(self._buffers)}"
        tensor = self._make_tensor(name, values.shape, kind, scale, 0)
        tensor.buffer = len(self._buffers) - 1
        self._tensors[name] = tensor
        return len(self._tensors) - 1

    def _make_tensor(self, name: str, shape: tuple[int, ...], kind: str, scale: float, zero_point: int) -> Any:
        tensor = self._s.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, np.int32), self._s.TensorType.INT8
        tensor.type, tensor.buffer = getattr(self._s.TensorType, kind), 0
        tensor.quantization = self._s.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
        return tensor

    def _operator_code(self, op: str) -> Any:
        code = self._s.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self._s.BuiltinOperator, op)
        code.version = 4 if op == "FULLY_CONNECTED" else 2
        return code

    def _tensor_map(self, name: str) -> Any:
        entry = self._s.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), self.tensor(name)
        return entry


def _plain(name: str) -> str:
    """Return the name of the tensor whose size and scale `name`, such as `h1:sum`, shares."""
    return name.partition(":")[0]


def make_graphs(skips: bool, joined: bool = False) -> dict[str, bytes]:
    """Return the graphs of all components by name."""
    seg0, exit0, seg1, exit1 = (Int8Graph(seed) for seed in range(4))
    seg0.dense("input", "h0", relu=True)
    exit0.dense("h0", "exit0_logits")
    exit1.dense("h1", "exit1_logits")
    if joined:
        seg0.dense("h0", "exit0_logits")
        seg1.dense("h0", "h1", relu=True)
        first = seg0.pack(["input"], ["h0", "exit0_logits"])
        return {"seg0": first, "seg1": seg1.pack(["h0"], ["h1"]), "exit1": exit1.pack(["h1"], ["exit1_logits"])}
    if not skips:
        seg1.dense("h0", "h1", relu=True)
        packed = (seg0.pack(["input"], ["h0"]), seg1.pack(["h0"], ["h1"]))
    else:
        seg0.dense("input", "g0")
        for source in ("h0", "g0", "input"):
            seg1.dense(source, f"h1:{source}")
        seg1.add("h1:h0", "h1:g0", "h1:sum")
        seg1.add("h1:sum", "h1:input", "h1")
        packed = (seg0.pack(["input"], ["g0", "h0"]), seg1.pack(["h0", "input", "g0"], ["h1"]))
    ends = (exit0.pack(["h0"], ["exit0_logits"]), exit1.pack(["h1"], ["exit1_logits"]))
    return {"seg0": packed[0], "exit0": ends[0], "seg1": packed[1], "exit1": ends[1]}


def write_int8_cascade(folder: Path, skips: bool = False, name: str = "tiny-mcu", joined: bool = False) -> Path:
    """Write `folder/NAME.eebundle` and return its path. Its thresholds were chosen, not fitted."""
    root = folder / f"{name}.eebundle"
    components = (
        Component("seg0", "segment", ("input",), ("g0", "h0") if skips else ("h0",), 960, 1008),
        Component("exit0", "exit", ("h0", "exit0_temperature"), ("exit0_logits", "exit0_confidence"), 192, 196),
        Component("seg1", "segment", ("h0", "input", "g0") if skips else ("h0",), ("h1",), 1152, 1176),
        Component("exit1", "exit", ("h1", "exit1_temperature"), ("exit1_logits", "exit1_confidence"), 96, 100),
    )
    if joined:
        ends = (("input", "exit0_temperature"), ("h0", "exit0_logits", "exit0_confidence"))
        components = (Component("seg0", "joined", *ends, 1152, 1204), *components[2:])
    graphs = make_graphs(skips, joined)
    paths = {c.name: f"components/{c.name}/tflm-int8/model.tflm" for c in components}
    files = {paths[c]: graph for c, graph in graphs.items()}
    files["samples/inputs.npz"] = _npz({"input": np.zeros((1, SIZES["input"]), np.float32)})
    files["samples/tflm-int8.npz"] = _npz({f"exit{i}_logits": np.zeros((1, 4), np.float32) for i in range(2)})
    expected = Expected("test", 40, 0.9, (0.75, 0.25), 0.25, 1500.0, (None, None))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        inputs=(Input("input", "float32", ("batch", SIZES["input"])),),
        labels=LABELS,
        tensors=_tensors(components),
        exits=tuple(
            Exit(tap, owner, f"exit{i}_logits", f"exit{i}_confidence", f"exit{i}_temperature")
            for i, (tap, owner) in enumerate((("h0", "seg0" if joined else "exit0"), (None, "exit1")))
        ),
        components=components,
        variants={
            VARIANT: Variant(
                {c: GraphFile(path, "int8", 0.0, None) for c, path in paths.items()},
                TEMPERATURES,
                {p: OperatingPoint((t,), None if t is None else expected) for p, t in POINTS.items()},
                "samples/tflm-int8.npz",
                0.1,
                batch=1,
            )
        },
        score="max_softmax",
        default_operating_point="balanced",
        samples="samples/inputs.npz",
        producer={"eetool": "0.1.0"},
        files={path: File(hashlib.sha256(data).hexdigest(), len(data)) for path, data in sorted(files.items())},
    )
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    write_manifest(root, encode(manifest))
    return root


def _tensors(components: Sequence[Component]) -> dict[str, Tensor]:
    shapes = {name: ("batch", SIZES[name]) if name in SIZES else ("batch",) for c in components for name in c.outputs}
    return {name: Tensor("float32", shape) for name, shape in shapes.items()}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
