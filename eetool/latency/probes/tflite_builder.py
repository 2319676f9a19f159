"""A TFLite file that grows operator by operator, with float tensors and one signature."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eetool.graphs.tflite_graph import schema

_SIGNATURE = b"serving_default"
_VERSION = 3  # of the format


class TfliteBuilder:
    """Tensors are known by their index, and have fixed sizes."""

    def __init__(self) -> None:
        self._s = schema()
        self.shapes: list[tuple[int, ...]] = []
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [self._s.BufferT()]  # the first is the empty one
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}

    def tensor(self, shape: Sequence[int], kind: str = "FLOAT32", buffer: int = 0) -> int:
        """A new tensor, which an operator makes where it has no buffer."""
        tensor = self._s.TensorT()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = getattr(self._s.TensorType, kind)
        tensor.buffer, tensor.name = buffer, f"t{len(self._tensors)}".encode()
        self._tensors.append(tensor)
        self.shapes.append(tuple(int(size) for size in shape))
        return len(self._tensors) - 1

    def constant(self, value: np.ndarray) -> int:
        """A tensor that the file holds: float32, or int32 for sizes and axes."""
        whole = value.dtype.kind != "f"
        array = np.ascontiguousarray(value, np.int32 if whole else np.float32)
        buffer = self._s.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self.tensor(array.shape, "INT32" if whole else "FLOAT32", len(self._buffers) - 1)

    def add(self, op: str, reads: Sequence[int], shape: Sequence[int], options: str = "", **values: Any) -> int:
        """Append an operator with one output of that shape; `options` names its class of options, `values` fill it."""
        operator = self._s.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(op, len(self._codes))
        operator.inputs = np.array(reads, np.int32)
        made = self.tensor(shape)
        operator.outputs = np.array([made], np.int32)
        if options:
            operator.builtinOptionsType = getattr(self._s.BuiltinOptions, options)
            operator.builtinOptions = getattr(self._s, f"{options}T")()
            for name, value in values.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        return made

    def fuse(self, made: int, activation: str) -> bool:
        """Let the operator that makes a tensor apply an activation too; False where it cannot."""
        operator = next((o for o in reversed(self._operators) if o.outputs[0] == made), None)
        options = operator.builtinOptions if operator is not None else None
        if getattr(options, "fusedActivationFunction", 1) != 0:
            return False
        options.fusedActivationFunction = getattr(self._s.ActivationFunctionType, activation)  # type: ignore[union-attr]
        return True

    def packed(self, name: str, reads: int, made: int) -> bytes:
        """The file, whose signature calls its input `name` and its output `y`."""
        import flatbuffers

        s = self._s
        graph = s.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = np.array([reads], np.int32), np.array([made], np.int32)
        graph.name = b"main"
        model = s.ModelT()
        model.version, model.description = _VERSION, b"eetool"
        model.operatorCodes = [self._code(op) for op in self._codes]
        model.subgraphs, model.buffers = [graph], self._buffers
        model.signatureDefs = [self._signature(name, reads, made)]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, op: str) -> Any:
        code = self._s.OperatorCodeT()
        code.builtinCode = getattr(self._s.BuiltinOperator, op)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        return code

    def _signature(self, name: str, reads: int, made: int) -> Any:
        signature = self._s.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = _SIGNATURE, 0
        signature.inputs, signature.outputs = ([self._named(*end)] for end in ((name, reads), ("y", made)))
        return signature

    def _named(self, name: str, index: int) -> Any:
        entry = self._s.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        return entry
