"""Graph files that refer to another file: the library behind a backend would read it, and no hash covers it."""

from __future__ import annotations

import mmap
from pathlib import Path

from ..errors import BackendError
from ..flatbuffer import Flatbuffer, Table
from ..protobuf import BYTES, VARINT, Data, fields

# Where tensors lie in onnx.proto, and with them references to files: message -> field number -> the message inside.
ONNX_MESSAGES = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        **{5: "TensorProto", 10: "TensorProto", 6: "GraphProto", 11: "GraphProto"},
        **{22: "SparseTensorProto", 23: "SparseTensorProto"},
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_MAX_NESTING = 64
_MAX_FIELDS = 1 << 22  # a file of nothing but fields would take minutes

# The same for the schema of TFLite: indices of the fields that are followed.
_SUBGRAPHS, _BUFFERS, _EXTERNAL_BUFFER_GROUPS, _EXTERNAL_BUFFERS = 2, 4, 8, 9  # of a model
_TENSORS, _OPERATORS = 0, 3  # of a subgraph
_EXTERNAL_BUFFER = 10  # of a tensor
_BUFFER_PLACE = (1, 2)  # offset and size, counted from the start of the file
_OPTIONS_PLACE = (9, 10)  # the same for the large options of an operator
_TFLITE = b"TFL3"


def refuse_onnx_side_files(path: Path) -> None:
    """Raise BackendError where a tensor of the ONNX file at `path` lies in another file, or it cannot be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            refers = onnx_refers(data)
    except (OSError, ValueError) as error:  # ValueError: an empty file, too
        raise BackendError(f"{path}: cannot be read as an ONNX file: {error}") from None
    if refers:
        hint = "Save the graph in one file: onnx.save_model(model, path, save_as_external_data=False)."
        raise _elsewhere(path, hint)


def refuse_tflite_side_files(path: Path, data: bytes) -> None:
    """Raise BackendError where a buffer of the TFLite file at `path` lies outside its `data`, or it cannot be read."""
    try:
        refers = tflite_refers(data)
    except ValueError as error:
        raise BackendError(f"{path}: cannot be read as a TFLite file: {error}") from None
    if refers:
        raise _elsewhere(path, "Convert the graph so that its weights lie in the file itself.")


def onnx_refers(data: Data) -> bool:
    """Whether a tensor of an ONNX model lies in another file; raises ValueError where `data` is not one."""
    waiting, seen = [("ModelProto", 0, len(data), 0)], 0
    while waiting:
        message, begin, end, depth = waiting.pop()
        if depth > _MAX_NESTING:
            raise ValueError("graphs are nested too deeply")
        inside = ONNX_MESSAGES[message]
        for number, kind, start, stop in fields(data, begin, end):
            seen += 1
            if seen > _MAX_FIELDS:
                raise ValueError("it has too many fields")
            # A field may stand several times, and the last one counts or all are merged: any of them is too much.
            if message == "TensorProto":
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (kind, start) != (VARINT, 0)):
                    return True
            elif number in inside and kind == BYTES:
                waiting.append((inside[number], start, stop, depth + 1))
    return False


def tflite_refers(data: bytes) -> bool:
    """Whether a buffer of a TFLite model lies in another file; raises ValueError where `data` is not one."""
    if data[4:8] != _TFLITE:
        raise ValueError("it does not begin as one")
    model = Flatbuffer(data).root()
    if model.length(_EXTERNAL_BUFFER_GROUPS) or model.length(_EXTERNAL_BUFFERS):
        return True
    for buffer in model.tables(_BUFFERS):
        _check_inside(data, buffer, _BUFFER_PLACE)
    for graph in model.tables(_SUBGRAPHS):
        if any(tensor.uint32(_EXTERNAL_BUFFER) for tensor in graph.tables(_TENSORS)):
            return True
        for operator in graph.tables(_OPERATORS):
            _check_inside(data, operator, _OPTIONS_PLACE)
    return False


def _check_inside(data: bytes, table: Table, place: tuple[int, int]) -> None:
    offset, size = (table.uint64(index) for index in place)
    if offset + size > len(data):
        raise ValueError(f"{size} bytes at {offset} lie outside the file")


def _elsewhere(path: Path, hint: str) -> BackendError:
    return BackendError(f"{path}: its weights lie in another file, which a bundle's hashes do not cover", hint)
