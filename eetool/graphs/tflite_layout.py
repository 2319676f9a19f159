"""Images in TFLite files with their channels last, as kernels compute them, without transpositions in between.

Converters bring images to torch's order wherever that costs no more transpositions in one graph than it saves. It costs
more where the graph is cut into components.

The classes of the schema come with LiteRT (extra `tflite`). Graphs are not run.
"""

import copy
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eetool.graphs.tflite_combine import aligned_builder, take_in_weights
from eetool.graphs.tflite_graph import schema

_TO_FIRST, _TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # permutations of an image: channels first, and last
_RANK = 4
_ELEMENTWISE = (
    "ADD",
    "SUB",
    "MUL",
    "MAXIMUM",
    "MINIMUM",
    "RELU",
    "RELU6",
    "HARD_SWISH",
    "LOGISTIC",
    "TANH",
    "LEAKY_RELU",
)
_SPATIAL = (2, 3)  # axes of height and width, channels first


def keep_channels_last(path: Path, names: Collection[str]) -> frozenset[str]:
    """Rewrite a TFLite file so that images stay with their channels last as long as possible.

    Args:
        path: a file of one graph with one signature.
        names: outputs that may have their channels last.

    Returns:
        Names of the outputs that have.

    Raises:
        MissingError: LiteRT is not installed.
    """
    s = schema()
    data = path.read_bytes()
    model = s.ModelT.InitFromObj(s.Model.GetRootAs(data))
    take_in_weights(model, data, path)
    rewriting = _Rewriting(model)
    for operator in model.subgraphs[0].operators:
        rewriting.add(operator)
    changed = rewriting.finish(names)
    builder = aligned_builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return changed


class _Rewriting:
    """State of one rewriting.

    Attributes:
        last: tensors that are images with channels first by their meaning, and the tensors that hold them with channels
            last.
        same: tensors that are others once transpositions are gone.
        operators: of the new graph.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.names = {value: name for name, value in vars(schema().BuiltinOperator).items() if isinstance(value, int)}
        self.last: dict[int, int] = {}
        self.same: dict[int, int] = {}
        self.first: dict[int, int] = {}  # images that were brought to channels first, by the tensor with channels last
        self.operators: list[Any] = []
        self.transpose: Any = None  # an operator to copy

    def add(self, operator: Any) -> None:
        """Add one operator of the old graph to the new one, or leave it out."""
        operator.inputs = [self.same.get(int(index), int(index)) for index in operator.inputs]
        name, source = self._name(operator), int(operator.inputs[0])
        if name == "TRANSPOSE":
            order = self._integers(operator.inputs[1])
            if order == _TO_FIRST and source not in self.last:
                self.transpose = operator
                self.last[int(operator.outputs[0])] = source
                return
            if order == _TO_LAST and source in self.last:
                self.same[int(operator.outputs[0])] = self.last[source]
                return
        if not self._stays_last(operator, name):
            operator.inputs = [self._as_first(index) for index in operator.inputs]
        self.operators.append(operator)

    def finish(self, names: Collection[str]) -> frozenset[str]:
        """Complete the graph, and return the outputs among `names` that have their channels last."""
        changed = set()
        (signature,) = self.model.signatureDefs
        for entry in signature.outputs:
            index = self.same.get(entry.tensorIndex, entry.tensorIndex)
            if index in self.last and entry.name.decode() in names:
                changed.add(entry.name.decode())
                entry.tensorIndex = self.last[index]
            else:
                entry.tensorIndex = self._as_first(index)
        self.graph.outputs = [entry.tensorIndex for entry in signature.outputs]
        self.graph.operators = self.operators
        return frozenset(changed)

    def _as_first(self, index: int) -> int:
        """Return the tensor that holds an image with channels first, made where there is none."""
        if index not in self.last:
            return index
        source = self.last[index]
        if source not in self.first:
            self.first[source] = self._add_tensor(source, self._permuted(source, _TO_FIRST), "first")
            operator = copy.copy(self.transpose)
            operator.inputs = [source, operator.inputs[1]]
            operator.outputs = [self.first[source]]
            self.operators.append(operator)
        return self.first[source]

    def _stays_last(self, operator: Any, name: str) -> bool:
        """Let an operator compute with channels last, and return True where it can."""
        if int(operator.inputs[0]) not in self.last:
            return False
        if name == "MEAN":
            return self._average(operator)
        if name in _ELEMENTWISE:
            inputs = [self._operand(int(index)) for index in operator.inputs]
        elif name == "PAD":
            inputs = [self.last[int(operator.inputs[0])], self._reordered(operator.inputs[1])]
        elif name == "STRIDED_SLICE" and not self._has_masks(operator):
            inputs = [self.last[int(operator.inputs[0])], *map(self._reordered, operator.inputs[1:])]
        else:
            return False
        if None in inputs:
            return False
        operator.inputs = inputs
        output = int(operator.outputs[0])
        self.last[output] = self._add_tensor(output, self._permuted(output, _TO_LAST), "last")
        operator.outputs = [self.last[output]]
        return True

    def _average(self, operator: Any) -> bool:
        if operator.builtinOptions.keepDims or tuple(sorted(self._integers(operator.inputs[1]))) != _SPATIAL:
            return False
        axes = self._add_constant(int(operator.inputs[1]), [_TO_FIRST[axis] for axis in _SPATIAL])
        operator.inputs = [self.last[int(operator.inputs[0])], axes]
        return True

    def _operand(self, index: int) -> int | None:
        """Return an operand of an elementwise operator with channels last; None where there is none."""
        if index in self.last:
            return self.last[index]
        return index if np.prod(self.graph.tensors[index].shape) == 1 else None

    def _has_masks(self, operator: Any) -> bool:
        options = operator.builtinOptions
        masks = (options.beginMask, options.endMask, options.ellipsisMask, options.newAxisMask, options.shrinkAxisMask)
        return any(masks)

    def _reordered(self, index: int) -> int | None:
        """Return a constant with a row for each axis, its rows in the order of channels last."""
        values = np.array(self._integers(index), np.int32)
        if not len(values):
            return None
        return self._add_constant(int(index), values.reshape(_RANK, -1)[list(_TO_LAST)].ravel().tolist())

    def _permuted(self, index: int, order: Sequence[int]) -> np.ndarray:
        """Return the shape of a tensor in another order."""
        shape = self.graph.tensors[index].shape
        return np.array([shape[axis] for axis in order], np.int32)

    def _name(self, operator: Any) -> str:
        code = self.model.operatorCodes[operator.opcodeIndex]
        name: str = self.names[max(int(code.builtinCode), int(code.deprecatedBuiltinCode))]
        return name

    def _integers(self, index: int) -> tuple[int, ...]:
        """Return the values of a constant of int32; empty for a tensor that is none."""
        tensor = self.graph.tensors[int(index)]
        data = self.model.buffers[tensor.buffer].data
        if data is None or tensor.type != schema().TensorType.INT32:
            return ()
        return tuple(np.frombuffer(bytes(data), np.int32).tolist())

    def _add_tensor(self, like: int, shape: np.ndarray, suffix: str) -> int:
        tensor = copy.copy(self.graph.tensors[like])
        tensor.shape, tensor.shapeSignature, tensor.name = shape, None, f"{like}_{suffix}"
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _add_constant(self, like: int, values: Sequence[int]) -> int:
        buffer, tensor = schema().BufferT(), copy.copy(self.graph.tensors[like])
        buffer.data = np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8)
        buffer.offset = buffer.size = 0
        tensor.buffer, tensor.name = len(self.model.buffers), f"{like}_{len(self.graph.tensors)}"
        self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1
