"""Reader of CIFAR's Python layout that does not run the pickle.

A pickle is a program. This reader interprets only the opcodes of dictionaries, lists, numbers, text, bytes and byte
arrays of NumPy. It neither imports nor calls anything that a file names. It does not traverse the result, because
nested tuples with shared items can be exponentially large.
"""

import os
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from eetool.data.readers.error_reason import error_reason
from eetool.errors import ArtefactError
from eetool.names import quote
from eetool.records import open_regular

_MAX_BYTES = 1 << 29  # three times the largest official file
_HINT = "Unpack the official archive again."
_MAX_STEPS = 2_000_000  # opcodes, eight times those of the largest
_ARRAY, _DTYPE, _BYTES = "array", "dtype", "bytes"  # results of the allowed names
_NAMES = {
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy ndarray": "ndarray",
    "numpy dtype": _DTYPE,
    "_codecs encode": _BYTES,
}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLE_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Array:
    """An array under construction."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a CIFAR file; raises ArtefactError where it cannot be read or is too large."""
    try:
        with open_regular(path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > _MAX_BYTES:
                raise ArtefactError(f"{path}: {size_bytes} bytes; no file of CIFAR has more than {_MAX_BYTES}")
            return file.read()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error_reason(error)}") from None


def read_cifar_pickle(path: Path) -> dict[str, Any]:
    """Read the dictionary in `path`, with text keys.

    Raises:
        ArtefactError: the file cannot be read, is no pickle, or holds anything but plain data and byte arrays.
    """
    try:
        content = _Reader().read(read_bytes(path))
    except ArtefactError:
        raise
    except _ForeignError as error:
        raise ArtefactError(f"{path}: holds {error}, which CIFAR's files do not; it was not run", _HINT) from None
    except Exception as error:  # damaged opcodes raise many unrelated types
        raise ArtefactError(
            f"{path}: not a readable file of CIFAR's python version: {error_reason(error)}", _HINT
        ) from None
    if not isinstance(content, dict):
        raise ArtefactError(f"{path}: holds no dictionary", _HINT)
    return {_text(key): value.value if isinstance(value, _Array) else value for key, value in content.items()}


class _ForeignError(Exception):
    """An object or opcode that CIFAR's files do not use."""


class _Reader:
    """Stack machine for the allowed opcodes."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []  # positions in the stack
        self.encoded_bytes = 0
        self.memo: dict[int, Any] = {}
        self.actions: dict[str, Callable[[], None]] = {
            "MARK": lambda: self.marks.append(len(self.stack)),
            "EMPTY_DICT": lambda: self.stack.append({}),
            "EMPTY_LIST": lambda: self.stack.append([]),
            "EMPTY_TUPLE": lambda: self.stack.append(()),
            "TUPLE": lambda: self.stack.append(tuple(self._to_mark())),
            "LIST": lambda: self.stack.append(self._to_mark()),
            "DICT": lambda: self.stack.append(_pairs(self._to_mark())),
            "APPEND": lambda: self._extend([self.stack.pop()]),
            "APPENDS": lambda: self._extend(self._to_mark()),
            "SETITEM": lambda: self._update([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda: self._update(self._to_mark()),
            "REDUCE": self._reduce,
            "BUILD": self._build,
            "MEMOIZE": lambda: self.memo.update({len(self.memo): self.stack[-1]}),
        }

    def read(self, data: bytes) -> Any:
        for steps, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            name = opcode.name
            if steps >= _MAX_STEPS:
                raise _ForeignError(f"more than {_MAX_STEPS} steps")
            if name in self.actions:
                self.actions[name]()
            elif name in ("PROTO", "FRAME"):
                continue
            elif name == "STOP":
                return self.stack.pop()
            elif name in _VALUES:
                self.stack.append(argument)
            elif name in ("BINSTRING", "SHORT_BINSTRING"):  # bytes of Python 2
                self.stack.append(str(argument).encode("latin-1"))
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _TUPLE_SIZES:
                self.stack[-_TUPLE_SIZES[name] :] = [tuple(self.stack[-_TUPLE_SIZES[name] :])]
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[int(str(argument))] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[int(str(argument))])
            elif name == "GLOBAL" and argument in _NAMES:
                self.stack.append(_NAMES[argument])
            else:
                raise _ForeignError(f"{name} {quote(str(argument))}" if name == "GLOBAL" else name)
        raise ValueError("it has no end")

    def _to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        self.stack[-1].update(_pairs(items))

    def _reduce(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if kind == _ARRAY:
            self.stack.append(_Array())
        elif kind == _BYTES:
            self.stack.append(self._encode(arguments[0]))
        elif kind == _DTYPE and _text(arguments[0]) in ("u1", "uint8"):
            self.stack.append(_DTYPE)
        else:
            raise _ForeignError("an object")

    def _encode(self, text: str) -> bytes:
        self.encoded_bytes += len(text)  # the same text may be encoded again and again
        if self.encoded_bytes > _MAX_BYTES:
            raise _ForeignError(f"more than {_MAX_BYTES} bytes")
        return text.encode("latin-1")

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Array):
            _, shape, dtype, fortran, raw = state
            if dtype != _DTYPE or not isinstance(raw, bytes):
                raise _ForeignError("an array of something else than bytes")
            target.value = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
        elif target != _DTYPE:
            raise _ForeignError("an object")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(key, (str, bytes)) for key in items[::2]):
        raise _ForeignError("a key that is no text")  # hashing another key may take very long
    return dict(zip(items[::2], items[1::2], strict=True))


def _text(value: Any) -> str:
    if not isinstance(value, (str, bytes)):
        raise _ForeignError("something else than a text")
    return value.decode("latin-1") if isinstance(value, bytes) else value
