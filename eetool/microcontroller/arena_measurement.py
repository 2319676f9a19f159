"""Memory of a graph, measured by TensorFlow Lite Micro itself on this machine (extra `mcu`).

TFLM divides its arena into working memory, for activations and scratch buffers, and persistent memory, for the
interpreter's records. The records hold pointers, so a microcontroller with 32 bits needs less of them.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eetool.errors import ArtefactError, MissingError
from eetool.microcontroller.memory_plan import ALIGNMENT, aligned

_LARGEST_ARENA = 1 << 28  # bytes
_SMALLEST_ARENA = 1 << 18
_LINE = re.compile(rb"Arena allocation (head|tail) (\d+) bytes")


@dataclass(frozen=True)
class ArenaNeed:
    """Memory of a graph in bytes, both parts rounded up to the alignment of TFLM."""

    working_bytes: int
    persistent_bytes: int

    @property
    def total_bytes(self) -> int:
        """Size of an arena of its own."""
        return self.working_bytes + self.persistent_bytes


def measure_arena(graph: bytes, where: str) -> ArenaNeed:
    """Return the memory with which TFLM loads and runs a graph.

    Working memory includes what is needed only while the graph is loaded: it is the smallest with which that succeeds.

    Args:
        graph: bytes of a TFLite file.
        where: its name, for messages.

    Raises:
        MissingError: tflite_micro is not installed.
        ArtefactError: TFLM cannot load the graph.
    """
    runtime = _require_tflm()
    head, tail = _parts(_load(runtime, graph, where))
    least, most = aligned(head), aligned(head)
    while not _fits(runtime, graph, most + tail):
        least, most = most, 2 * most + ALIGNMENT
    while most - least > ALIGNMENT:
        middle = aligned((least + most) // 2)
        least, most = (least, middle) if _fits(runtime, graph, middle + tail) else (middle, most)
    return ArenaNeed(most, aligned(tail))


def _require_tflm() -> Any:
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise MissingError(
            f"memory on a microcontroller is measured by tflite_micro: {error}", "pip install --pre eetool[mcu]"
        ) from None
    return runtime


def _load(runtime: Any, graph: bytes, where: str) -> Any:
    size = max(_SMALLEST_ARENA, 4 * len(graph))
    while True:
        with _captured() as messages:
            try:
                return _interpreter(runtime, graph, size)
            except RuntimeError:
                pass
        if size >= _LARGEST_ARENA:
            reason = messages.getvalue().decode(errors="replace").strip().splitlines()
            raise ArtefactError(f"{where}: TFLM cannot load it: {reason[0] if reason else 'no reason given'}")
        size = min(16 * size, _LARGEST_ARENA)


def _interpreter(runtime: Any, graph: bytes, arena_bytes: int) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a count
        return runtime.Interpreter.from_bytes(graph, arena_size=arena_bytes)


def _fits(runtime: Any, graph: bytes, arena_bytes: int) -> bool:
    with _captured():
        try:
            _interpreter(runtime, graph, arena_bytes)
        except RuntimeError:
            return False
    return True


def _parts(interpreter: Any) -> tuple[int, int]:
    """Return the bytes of working and of persistent memory."""
    with _captured() as messages:
        interpreter.print_allocations()
    found = {name: int(size) for name, size in _LINE.findall(messages.getvalue())}
    return found[b"head"], found[b"tail"]


@contextlib.contextmanager
def _captured() -> Iterator[io.BytesIO]:
    """Catch what TFLM writes to the standard error of the process; the result is filled at the end."""
    messages = io.BytesIO()
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            messages.write(file.read())
