"""Refuses ONNX files whose weights lie in other files, which no hash of the bundle covers.

onnxruntime follows such references. So the file is looked through first, without the onnx package, which a device
does not have.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from ..errors import BackendError

# onnx.proto, as far as tensors lie in it: message -> field number -> the message inside.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_KEY = b"location"  # of every reference to a file; a graph without this word needs no closer look
_MAX_NESTING = 64


def refuse_side_files(path: Path) -> None:
    """Raise BackendError where a tensor of the ONNX file at `path` lies in another file, or it cannot be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_KEY) >= 0 and _refers(data, "model", 0, len(data), 0):
                raise BackendError(
                    f"{path}: its weights lie in another file, which a bundle's hashes do not cover",
                    "Save the graph in one file: onnx.save_model(model, path, save_as_external_data=False).",
                )
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise BackendError(f"{path}: cannot be read as an ONNX file: {error}") from None


def _refers(data: mmap.mmap, message: str, begin: int, end: int, depth: int) -> bool:
    if depth > _MAX_NESTING:
        raise ValueError("graphs are nested too deeply")
    for number, start, stop, value in _fields(data, begin, end):
        if message == "tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif number in _INSIDE[message] and _refers(data, _INSIDE[message][number], start, stop, depth + 1):
            return True
    return False


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, extent and value of the fields of a protobuf message; those with an extent have the value 0."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at, end)
            yield number, at, at, value
        elif kind == 2:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError("a field is longer than the message around it")
            yield number, at, at + size, 0
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("it ends within a number")
