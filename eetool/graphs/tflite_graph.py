"""TFLite files as operators with known sizes. Of the stored values only axes and strides are read.

The classes of the schema come with LiteRT (extra `tflite`). Graphs are not run.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    """One tensor.

    Attributes:
        shape: sizes.
        int8: whether it holds 8-bit numbers.
        constant: whether it is stored in the file.
        values: stored values of a short row of integers, such as axes; otherwise empty.
        kind: its type in the schema, such as `FLOAT32`.
    """

    shape: tuple[int, ...]
    int8: bool
    constant: bool
    values: tuple[int, ...] = ()
    kind: str = "FLOAT32"

    @property
    def size(self) -> int:
        """Count of numbers; at least 1."""
        count = 1
        for size in self.shape:
            count *= size
        return max(count, 1)


@dataclass(frozen=True)
class TfliteOperator:
    """One operator by its TFLite name. `reads` and `writes` are indices of tensors; -1 for an omitted one."""

    op: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class TfliteGraph:
    """Operators of a file in execution order, with their tensors."""

    operations: tuple[TfliteOperator, ...]
    tensors: tuple[TfliteTensor, ...]
    outputs: tuple[int, ...]


def schema() -> Any:
    """Return the module of the TFLite schema.

    Raises:
        MissingError: LiteRT is not installed; the hint is the command that installs it.
    """
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingError(f"TFLite files need ai-edge-litert: {error}", "pip install eetool[tflite]") from None


def can_read_tflite() -> bool:
    """Return whether the schema is installed."""
    try:
        schema()
    except MissingError:
        return False
    return True


def read_tflite(path: Path) -> TfliteGraph:
    """Read the first graph of a TFLite file.

    Raises:
        ArtefactError: it is missing or not a TFLite file.
        MissingError: LiteRT is not installed.
    """
    return parse_tflite(_read_bytes(path), str(path))


def read_shared_tflite(path: Path) -> dict[str, TfliteGraph]:
    """Read the graphs of a TFLite file by the names of their signatures; raises as `read_tflite`."""
    s = schema()
    with _damage_as_error(str(path)):
        model = _unpacked(_read_bytes(path), str(path), s)
        return {d.signatureKey.decode(): _graph(model, s, d.subgraphIndex) for d in model.signatureDefs or ()}


def parse_tflite(data: bytes, where: str) -> TfliteGraph:
    """Parse the bytes of a TFLite file.

    Args:
        data: the bytes.
        where: where they come from, for messages.

    Raises:
        ArtefactError: it is not a TFLite file.
        MissingError: LiteRT is not installed.
    """
    s = schema()
    with _damage_as_error(where):
        return _graph(_unpacked(data, where, s), s, 0)


def _read_bytes(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None


@contextmanager
def _damage_as_error(where: str) -> Iterator[None]:
    try:
        yield
    except ArtefactError:
        raise
    except Exception as error:  # a truncated file raises arbitrary errors
        raise ArtefactError(f"{where}: cannot be read as a TFLite file: {error}") from None


def _unpacked(data: bytes, where: str, s: Any) -> Any:
    if data[4:8] != b"TFL3":
        raise ArtefactError(f"{where}: not a TFLite file")
    return s.ModelT.InitFromObj(s.Model.GetRootAsModel(data, 0))


def _graph(model: Any, s: Any, index: int) -> TfliteGraph:
    names = _names(s.BuiltinOperator)
    codes = [names[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    graph, types = model.subgraphs[index], _names(s.TensorType)
    tensors = tuple(_tensor(t, types[t.type], model.buffers[t.buffer].data) for t in graph.tensors)
    operations = tuple(
        TfliteOperator(codes[o.opcodeIndex], _ints(o.inputs), _ints(o.outputs), _options(o)) for o in graph.operators
    )
    return TfliteGraph(operations, tensors, _ints(graph.outputs))


def _tensor(tensor: Any, kind: str, data: Any) -> TfliteTensor:
    shape = _ints(tensor.shape)
    short = data is not None and kind == "INT32" and len(shape) == 1 and len(data) <= _SHORT
    values = _ints(np.frombuffer(bytes(data), np.int32).tolist()) if short else ()
    return TfliteTensor(shape, kind in _INT8_TYPES, data is not None, values, kind)


def _options(operator: Any) -> dict[str, Any]:
    return {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _ints(values: Sequence[int] | None) -> tuple[int, ...]:
    return tuple(int(value) for value in values) if values is not None else ()
