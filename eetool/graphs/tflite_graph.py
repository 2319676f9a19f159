"""A TFLite file as operators with known sizes; of what it stores only axes and strides are looked at.

The schema's classes come with LiteRT (extra `tflite`). Nothing is run here.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eetool.errors import ArtefactError, MissingError
from eetool.records import open_regular

_INT8_TYPES = ("INT8", "UINT8")
_SHORT = 32  # bytes of a row of axes or strides


@dataclass(frozen=True)
class TfliteTensor:
    """Sizes of a tensor, whether it holds 8-bit numbers, and whether it is stored in the file.

    `values` are those of a short row of whole numbers that is stored, such as axes; empty otherwise.
    """

    shape: tuple[int, ...]
    int8: bool
    constant: bool
    values: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Numbers in it; at least 1."""
        count = 1
        for size in self.shape:
            count *= size
        return max(count, 1)


@dataclass(frozen=True)
class TfliteOperator:
    """One operator by its TFLite name. `reads` and `writes` are indices of tensors; -1 where one is left out."""

    op: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class TfliteGraph:
    """The operators of a file, in the order in which they run."""

    operations: tuple[TfliteOperator, ...]
    tensors: tuple[TfliteTensor, ...]
    outputs: tuple[int, ...]


def schema() -> Any:
    """Classes of the TFLite schema; raises MissingError with the line that installs them."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingError(f"TFLite files need ai-edge-litert: {error}", "pip install eetool[tflite]") from None


def can_read_tflite() -> bool:
    """Whether the schema is installed."""
    try:
        schema()
    except MissingError:
        return False
    return True


def read_tflite(path: Path) -> TfliteGraph:
    """Read a TFLite file.

    Raises:
        ArtefactError: it is missing or no TFLite file.
        MissingError: LiteRT is not installed.
    """
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_tflite(data, str(path))


def parse_tflite(data: bytes, where: str) -> TfliteGraph:
    """The same from the bytes of a file; `where` names it in errors."""
    s = schema()
    if data[4:8] != b"TFL3":
        raise ArtefactError(f"{where}: is no TFLite file")
    try:
        model = s.ModelT.InitFromObj(s.Model.GetRootAsModel(data, 0))
        return _graph(model, s)
    except Exception as error:  # a cut file raises whatever its offsets lead to
        raise ArtefactError(f"{where}: cannot be read as a TFLite file: {error}") from None


def _graph(model: Any, s: Any) -> TfliteGraph:
    names = _names(s.BuiltinOperator)
    codes = [names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    graph, types = model.subgraphs[0], _names(s.TensorType)
    tensors = tuple(_tensor(t, types[t.type], model.buffers[t.buffer].data) for t in graph.tensors)
    operations = tuple(
        TfliteOperator(codes[o.opcodeIndex], _ints(o.inputs), _ints(o.outputs), _options(o)) for o in graph.operators
    )
    return TfliteGraph(operations, tensors, _ints(graph.outputs))


def _tensor(tensor: Any, kind: str, data: Any) -> TfliteTensor:
    shape = _ints(tensor.shape)
    short = data is not None and kind == "INT32" and len(shape) == 1 and len(data) <= _SHORT
    values = _ints(np.frombuffer(bytes(data), np.int32).tolist()) if short else ()
    return TfliteTensor(shape, kind in _INT8_TYPES, data is not None, values)


def _options(operator: Any) -> dict[str, Any]:
    return {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _ints(values: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(int(value) for value in values) if values is not None else ()
