"""Builder of TFLite files, operator by operator, with float tensors and one signature."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eetool.graphs.tflite_graph import schema

_SIGNATURE = b"serving_default"
_VERSION = 3  # of the format


class TfliteBuilder:
    """TFLite graph under construction; tensors are identified by their index and have fixed sizes."""

    def __init__(self) -> None:
        self._s = schema()
        self.shapes: list[tuple[int, ...]] = []
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [self._s.BufferT()]  # the first is the empty one
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}

    def tensor(self, shape: Sequence[int], kind: str = "FLOAT32", buffer: int = 0) -> int:
        """Add a tensor, which is the output of an operator if it has no buffer; return its index."""
        tensor = self._s.TensorT()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = getattr(self._s.TensorType, kind)
        tensor.buffer, tensor.name = buffer, f"t{len(self._tensors)}".encode()
        self._tensors.append(tensor)
        self.shapes.append(tuple(int(size) for size in shape))
        return len(self._tensors) - 1

    def constant(self, value: np.ndarray) -> int:
        """Add a constant tensor, float32, or int32 for sizes and axes; return its index."""
        whole = value.dtype.kind != "f"
        array = np.ascontiguousarray(value, np.int32 if whole else np.float32)
        buffer = self._s.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self.tensor(array.shape, "INT32" if whole else "FLOAT32", len(self._buffers) - 1)

    def add(self, op: str, reads: Sequence[int], shape: Sequence[int], options: str = "", **values: Any) -> int:
        """Append an operator with one output.

        Args:
            op: name of the operator.
            reads: indices of its inputs.
            shape: shape of the output.
            options: name of its class of options; none if empty.
            **values: fields of the options.

        Returns:
            Index of the output.
        """
        operator = self._s.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(op, len(self._codes))
        operator.inputs = np.array(reads, np.int32)
        output = self.tensor(shape)
        operator.outputs = np.array([output], np.int32)
        if options:
            operator.builtinOptionsType = getattr(self._s.BuiltinOptions, options)
            operator.builtinOptions = getattr(self._s, f"{options}T")()
            for name, value in values.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        return output

    def fuse(self, output: int, activation: str) -> bool:
        """Fuse an activation into the operator that computes a tensor; return whether that is possible."""
        operator = next((o for o in reversed(self._operators) if o.outputs[0] == output), None)
        options = operator.builtinOptions if operator is not None else None
        if getattr(options, "fusedActivationFunction", 1) != 0:
            return False
        options.fusedActivationFunction = getattr(self._s.ActivationFunctionType, activation)  # type: ignore[union-attr]
        return True

    def pack(self, name: str, reads: int, output: int) -> bytes:
        """Return the file, with a signature of an input `name` and an output `y`."""
        import flatbuffers

        s = self._s
        graph = s.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = np.array([reads], np.int32), np.array([output], np.int32)
        graph.name = b"main"
        model = s.ModelT()
        model.version, model.description = _VERSION, b"eetool"
        model.operatorCodes = [self._operator_code(op) for op in self._codes]
        model.subgraphs, model.buffers = [graph], self._buffers
        model.signatureDefs = [self._make_signature(name, reads, output)]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _operator_code(self, op: str) -> Any:
        code = self._s.OperatorCodeT()
        code.builtinCode = getattr(self._s.BuiltinOperator, op)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        return code

    def _make_signature(self, name: str, reads: int, output: int) -> Any:
        signature = self._s.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = _SIGNATURE, 0
        signature.inputs, signature.outputs = ([self._tensor_map(*end)] for end in ((name, reads), ("y", output)))
        return signature

    def _tensor_map(self, name: str, index: int) -> Any:
        entry = self._s.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        return entry
