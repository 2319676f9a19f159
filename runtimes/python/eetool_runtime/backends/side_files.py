"""Detection of graph files that refer to other files, which the hashes of a bundle do not cover."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Optional

from ..errors import BackendError
from ..flatbuffer import Flatbuffer, FlatbufferTable
from ..protobuf import BYTES, VARINT, Data, fields

# Fields of onnx.proto that lead to tensors, which can refer to files: message -> field number -> inner message.
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
_KEY, _VALUE = 1, 2  # fields of an entry of external data
_MAX_NESTING = 64
_MAX_FIELDS = 1 << 22  # more fields would take minutes

# Field indices in the schema of TFLite.
_SUBGRAPHS, _BUFFERS, _EXTERNAL_BUFFER_GROUPS, _EXTERNAL_BUFFERS = 2, 4, 8, 9  # of a model
_TENSORS, _OPERATORS = 0, 3  # of a subgraph
_EXTERNAL_BUFFER = 10  # of a tensor
_BUFFER_PLACE = (1, 2)  # offset and size, counted from the start of the file
_OPTIONS_PLACE = (9, 10)  # the same for the large options of an operator
_TFLITE = b"TFL3"


def refuse_onnx_side_files(path: Path) -> None:
    """Raise BackendError where a tensor of the ONNX file at `path` is in another file, or `path` is unreadable."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            refers = onnx_refers(data)
    except (OSError, ValueError) as error:  # ValueError also for an empty file
        raise BackendError(f"{path}: cannot be read as an ONNX file: {error}") from None
    if refers:
        hint = "Save the graph in one file: onnx.save_model(model, path, save_as_external_data=False)."
        raise _refusal(path, hint)


def check_onnx_side_files(path: Path) -> None:
    """Raise BackendError unless every file that the tensors of an ONNX file lie in is a plain file in its folder."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            names = onnx_side_files(data)
    except (OSError, ValueError) as error:
        raise BackendError(f"{path}: cannot be read as an ONNX file: {error}") from None
    for name in sorted(names):
        problem = _outside(path.parent, name)
        if problem is not None:
            hint = "Save the graph in one file: onnx.save_model(model, path, save_as_external_data=False)."
            raise BackendError(f"{path}: its weights lie in {name!r}, which {problem}", hint)
        if not (path.parent / name).is_file():
            hint = f"Copy {name} into the folder of {path.name}."
            raise BackendError(f"{path}: its weights lie in {name!r}, which is missing in that folder", hint)


def onnx_side_files(data: Data) -> set[str]:
    """Return the files that tensors of an ONNX model lie in; raises ValueError unless `data` is a model."""
    names: set[str] = set()
    for place in _references(data):
        if place is None:
            continue
        entry = [(number, bytes(data[start:stop])) for number, _, start, stop in fields(data, *place)]
        if (_KEY, b"location") in entry:
            names.update(value.decode() for number, value in entry if number == _VALUE)
    return names


def _outside(folder: Path, name: str) -> Optional[str]:
    """Return why a file is not one of the folder's own, without following links; None if it is."""
    path = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or path.is_absolute() or PureWindowsPath(name).drive:
        return "is no relative path"
    if ".." in path.parts:
        return "leads out of its folder"
    steps = [folder.joinpath(*path.parts[: count + 1]) for count in range(len(path.parts))]
    return "is reached through a symbolic link" if any(step.is_symlink() for step in steps) else None


def refuse_tflite_side_files(path: Path, data: bytes) -> None:
    """Raise BackendError where a buffer of a TFLite file is outside its `data`, or `data` is unreadable."""
    try:
        refers = tflite_refers(data)
    except ValueError as error:
        raise BackendError(f"{path}: cannot be read as a TFLite file: {error}") from None
    if refers:
        raise _refusal(path, "Convert the graph so that its weights are in the file itself.")


def onnx_refers(data: Data) -> bool:
    """Return whether a tensor of an ONNX model is in another file; raises ValueError unless `data` is a model."""
    return any(True for _ in _references(data))


def _references(data: Data) -> Iterator[Optional[tuple[int, int]]]:
    """Yield the place of each entry that leads to another file, or None for a tensor that is marked as external."""
    pending, count = [("ModelProto", 0, len(data), 0)], 0
    while pending:
        message, begin, end, depth = pending.pop()
        if depth > _MAX_NESTING:
            raise ValueError("graphs are nested too deeply")
        inside = ONNX_MESSAGES[message]
        for number, kind, start, stop in fields(data, begin, end):
            count += 1
            if count > _MAX_FIELDS:
                raise ValueError("it has too many fields")
            # A field may occur several times; parsers take the last one or merge all. Any occurrence is refused.
            if message == "TensorProto":
                if number == _EXTERNAL_DATA:
                    yield (start, stop) if kind == BYTES else None
                elif number == _DATA_LOCATION and (kind, start) != (VARINT, 0):
                    yield None
            elif number in inside and kind == BYTES:
                pending.append((inside[number], start, stop, depth + 1))


def tflite_refers(data: bytes) -> bool:
    """Return whether a buffer of a TFLite model is in another file; raises ValueError unless `data` is a model."""
    if data[4:8] != _TFLITE:
        raise ValueError("it has no TFLite header")
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


def _check_inside(data: bytes, table: FlatbufferTable, place: tuple[int, int]) -> None:
    offset, size = (table.uint64(index) for index in place)
    if offset + size > len(data):
        raise ValueError(f"{size} bytes at {offset} lie outside the file")


def _refusal(path: Path, hint: str) -> BackendError:
    return BackendError(f"{path}: its weights lie in another file, which a bundle's hashes do not cover", hint)
