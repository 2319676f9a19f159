"""Tables of the source of a cascade: graphs as arrays, and rows of the structures in `templates/data.h`."""

from collections.abc import Iterator, Sequence

import numpy as np

from eetool.microcontroller.cascade import DeviceCascade
from eetool.microcontroller.memory_plan import MemoryPlan
from eetool.microcontroller.source_names import constant

_BYTES_PER_LINE = 24
_ALIGNMENT = 16  # bytes; weights are read in place


def graph_arrays(cascade: DeviceCascade) -> Iterator[str]:
    """Yield the definition of an array for every graph."""
    for c in cascade.components:
        lines = [c.graph[i : i + _BYTES_PER_LINE] for i in range(0, len(c.graph), _BYTES_PER_LINE)]
        rows = "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in line) for line in lines)
        head = f"alignas({_ALIGNMENT}) const unsigned char {constant(c.name)}Graph[{len(c.graph)}]"
        yield f"{head} = {{\n{rows}\n}};\n"


def exit_rows(cascade: DeviceCascade) -> str:
    """Return the definition of every exit; the scale of its logits is divided by its temperature."""
    rows = []
    for c in cascade.components:
        if c.exit is not None:
            factor = np.float32(c.exit.logits.scale) / np.float32(c.exit.temperature)
            values = f"{c.exit.index}, {c.exit.logits.position}, {number(factor)}"
            rows.append(f"const Exit {constant(c.name)}Exit = {{{values}}};")
    return "\n".join(rows) + "\n"


def component_rows(cascade: DeviceCascade, waiting_bytes: Sequence[int]) -> Iterator[str]:
    """Yield a row of `kComponents` for every component."""
    for c, waiting in zip(cascade.components, waiting_bytes, strict=True):
        own = "nullptr" if c.exit is None else f"&{constant(c.name)}Exit"
        yield f"{{{constant(c.name)}Graph, {waiting}, {own}}}"


def tensor_rows(plan: MemoryPlan) -> Iterator[str]:
    """Yield a row of `kTensors` for every tensor that waits; C++ has no arrays without rows."""
    for tensor in plan.tensors:
        yield f"{{{tensor.size_bytes}, {tensor.distance_from_end}}}"
    if not plan.tensors:
        yield "{0, 0}"


def move_rows(plan: MemoryPlan) -> Iterator[str]:
    """Yield a row of `kMoves` for every copy; if there are none, one of no component."""
    for move in plan.moves:
        yield f"{{{move.component}, {move.position}, {move.tensor}, {'true' if move.is_read else 'false'}}}"
    if not plan.moves:
        yield "{255, 0, 0, true}"


def input_rows(cascade: DeviceCascade, plan: MemoryPlan) -> Iterator[str]:
    """Yield a row of `kInputs` for every input of the model."""
    for port in cascade.inputs:
        tensor = plan.index(port.tensor)
        yield f"{{{-1 if tensor is None else tensor}, {port.position}, {number(port.scale)}, {port.zero_point}}}"


def point_rows(cascade: DeviceCascade) -> Iterator[str]:
    """Yield a row of `kPoints` for every operating point."""
    for point in cascade.points:
        runs = sum(1 << component for component in point.runs)
        yield f"{{{runs:#x}, {{{', '.join(number(at_least(t)) for t in point.thresholds)}}}}}"


def at_least(threshold: float) -> np.float32:
    """Return the least float32 that is not below a threshold, so that a comparison in float32 decides the same."""
    rounded = np.float32(threshold)
    return rounded if float(rounded) >= threshold else np.nextafter(rounded, np.float32(np.inf))


def number(value: float | np.floating) -> str:
    """Return a float32 as a literal of C that is read back as the same number."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def quoted(text: str) -> str:
    """Return a text as a string literal of C in UTF-8."""
    parts = []
    for byte in text.encode("utf-8"):
        plain = 0x20 <= byte < 0x7F and chr(byte) not in '"\\?'  # ?? begins a trigraph
        parts.append(chr(byte) if plain else f"\\{byte:03o}")
    return f'"{"".join(parts)}"'
