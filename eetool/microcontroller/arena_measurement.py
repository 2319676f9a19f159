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
from functools import cache
from typing import Any

from eetool.errors import ArtefactError, MissingError
from eetool.latency.probes.tflite_builder import TfliteBuilder
from eetool.microcontroller.arena_trial import smallest_arena
from eetool.microcontroller.memory_plan import ALIGNMENT, aligned

_LARGEST_ARENA = 1 << 28  # bytes
_SMALLEST_ARENA = 1 << 18
_LINE = re.compile(rb"(head|tail|'[^']+'[^0-9]*?) (\d+) bytes(?: with .* for (\d+) )?")
_TENSORS, _ENDS = b"'TfLiteEvalTensor data' used", b"'Persistent TfLiteTensor"
_POINTERS = 2 * ALIGNMENT  # to the tensors of both ends
_PLANNING_BYTES, _PLANNING_BYTES_PER_TENSOR = 1024, 128  # at most what TFLM's planner needs while it plans


@dataclass(frozen=True)
class ArenaNeed:
    """Memory of a graph in bytes, both parts rounded up to the alignment of TFLM.

    Attributes:
        working_bytes: for tensors, and while the graph is loaded for the planner.
        persistent_bytes: for the interpreter's records, without those of the allocator.
    """

    working_bytes: int
    persistent_bytes: int


@dataclass(frozen=True)
class _Allocations:
    """Sizes of an arena as TFLM reports them: working and persistent bytes, and how the latter came about.

    Attributes:
        head: working bytes.
        tail: persistent bytes.
        recorded: part of the tail that is of the graph.
        ends: part of the tail that is allocated after planning, in memory that the planner can use before.
        tensors: number of tensors.
    """

    head: int
    tail: int
    recorded: int
    ends: int
    tensors: int


def measure_arena(graph: bytes, where: str) -> ArenaNeed:
    """Return the memory with which TFLM loads and runs a graph.

    Args:
        graph: bytes of a TFLite file.
        where: its name, for messages.

    Raises:
        MissingError: tflite_micro is not installed.
        ArtefactError: TFLM cannot load the graph.
    """
    runtime = _require_tflm()
    found = _allocations(_load(runtime, graph, where))
    working = aligned(found.head)
    planning = aligned(_PLANNING_BYTES + _PLANNING_BYTES_PER_TENSOR * found.tensors)
    if working < planning:
        # The planner may need more than the tensors. Here it also has the place of what is allocated after it.
        smallest = _smallest_working(graph, working, planning, found.tail, where)
        working = smallest + aligned(found.ends) + _POINTERS
    return ArenaNeed(working, aligned(found.tail - allocator_bytes()) + ALIGNMENT)


@cache
def allocator_bytes() -> int:
    """Return the size of an allocator's own records: of those of a graph of one operator, what is not of the graph.

    It is an upper bound, since an allocator that records what it does is larger than that of a device.
    """
    runtime = _require_tflm()
    builder = TfliteBuilder()
    end = builder.tensor((1, 1))
    found = _allocations(_load(runtime, builder.pack("x", end, builder.add("RELU", [end], (1, 1))), "one operator"))
    return aligned(found.tail - found.recorded)


def _smallest_working(graph: bytes, least: int, enough: int, tail: int, where: str) -> int:
    """Return the smallest working memory, at least `least`, with which a graph is loaded beside `tail` bytes.

    It is searched from `enough` bytes downwards.
    """
    while enough <= _LARGEST_ARENA:
        arena = smallest_arena(graph, least + tail, enough + tail)
        if arena is not None:
            return arena - tail
        enough *= 2
    raise ArtefactError(f"{where}: the memory that it needs cannot be measured: no arena is large enough")


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


def _allocations(interpreter: Any) -> _Allocations:
    with _captured() as messages:
        interpreter.print_allocations()
    lines = [(name, int(size), int(count or 0)) for name, size, count in _LINE.findall(messages.getvalue())]
    sizes = {name: size for name, size, _ in lines}
    return _Allocations(
        sizes[b"head"],
        sizes[b"tail"],
        sum(size for name, size, _ in lines if name.startswith(b"'")),
        sum(size for name, size, _ in lines if name.startswith(_ENDS)),
        next(count for name, _, count in lines if name == _TENSORS),
    )


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
