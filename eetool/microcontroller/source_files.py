"""C++ source of a cascade for TensorFlow Lite Micro, as a library folder for CMake, Arduino and PlatformIO."""

import importlib.resources
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from eetool import __version__
from eetool.errors import ArtefactError
from eetool.graphs.tflite_graph import parse_tflite
from eetool.graphs.tflm_operators import OPERATORS
from eetool.microcontroller.cascade import DeviceCascade
from eetool.microcontroller.footprint import Footprint, Memory, memory_of
from eetool.microcontroller.memory_plan import MemoryPlan, plan_memory
from eetool.microcontroller.source_names import adding_method, identifier
from eetool.microcontroller.source_tables import (
    component_rows,
    exit_rows,
    graph_arrays,
    input_rows,
    move_rows,
    point_rows,
    quoted,
    tensor_rows,
)
from eetool.records import SOURCE, canonical, write_directory

SCHEMA = "mcu_source/1"
_FILES = {
    "src/{name}.h": "cascade.h",
    "src/{name}.cc": "cascade.cc",
    "src/{name}_data.h": "data.h",
    "src/{name}_data.cc": "data.cc",
    "src/{name}_operators.h": "operators.h",
    "CMakeLists.txt": "CMakeLists.txt",
    "library.properties": "library.properties",
    "library.json": "library.json",
    "examples/classify/classify.ino": "classify.ino",
    "README.md": "README.md",
}


@dataclass(frozen=True)
class SourceOrigin:
    """Origin of a folder of source: `eetool-source.json`.

    Attributes:
        schema: `mcu_source/1`.
        eetool: version that wrote it.
        bundle: name of the bundle.
        manifest_sha256: of the bundle.
        prefix: of files and functions.
        memory: that it reserves.
    """

    schema: str
    eetool: str
    bundle: str
    manifest_sha256: str
    prefix: str
    memory: Memory


@dataclass(frozen=True)
class SourceFolder:
    """Source that was written: its folder, the prefix of its names, its files, and the memory that it reserves."""

    path: Path
    prefix: str
    files: tuple[str, ...]
    memory: Memory


def write_source(
    cascade: DeviceCascade,
    footprint: Footprint,
    manifest_sha256: str,
    folder: Path,
    force: bool = False,
    prefix: str | None = None,
) -> SourceFolder:
    """Write the source of a cascade. The same bundle gives the same bytes.

    Args:
        cascade: of a bundle.
        footprint: its memory.
        manifest_sha256: of the bundle, which the folder records.
        folder: output folder.
        force: replace an existing one.
        prefix: of files and functions, by default the name of the cascade as an identifier of C.

    Raises:
        OutputError: the folder exists and `force` was not given, or cannot be written.
        ArtefactError: a graph has an operator that TFLM does not have.
    """
    name = prefix or identifier(cascade.name)
    values = _values(cascade, footprint, name)
    files = {path.format(name=name): _render(template, values) for path, template in _FILES.items()}
    origin = SourceOrigin(SCHEMA, __version__, cascade.name, manifest_sha256, name, memory_of(footprint))
    files[SOURCE] = canonical(origin)
    with write_directory(folder, force) as temporary:
        for path, text in files.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_text(text, encoding="utf-8")
    return SourceFolder(folder, name, tuple(files), origin.memory)


def operators(cascade: DeviceCascade) -> tuple[str, ...]:
    """Return the names of all operators of a cascade in TFLite, sorted; raises ArtefactError for one TFLM lacks."""
    found: set[str] = set()
    for c in cascade.components:
        own = {operation.op for operation in parse_tflite(c.graph, c.file).operations}
        lacking = sorted(own - OPERATORS)
        if lacking:
            raise ArtefactError(
                f"{c.file}: TFLM has no operator {lacking[0]}", "Export the model again: it says what to use."
            )
        found |= own
    return tuple(sorted(found))


def _render(template: str, values: Mapping[str, str]) -> str:
    text = importlib.resources.files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _values(cascade: DeviceCascade, footprint: Footprint, name: str) -> dict[str, str]:
    plan = plan_memory(cascade)
    ops = operators(cascade)
    return {
        **_names(cascade, name),
        **_sizes(cascade, footprint, plan, name),
        "operator_count": str(len(ops)),
        "add_operators": "\n".join(f"  TF_LITE_ENSURE_STATUS(resolver->{adding_method(op)}());" for op in ops),
        "labels": _lines((quoted(label) for label in cascade.labels), 2),
        "graphs": "\n".join(graph_arrays(cascade)),
        "exits_table": exit_rows(cascade),
        "component_rows": _lines(component_rows(cascade, plan.waiting_bytes), 4),
        "tensor_rows": _lines(tensor_rows(plan), 4),
        "move_rows": _lines(move_rows(plan), 4),
        "input_rows": _lines(input_rows(cascade, plan), 4),
        "point_rows": _lines(point_rows(cascade), 4),
    }


def _names(cascade: DeviceCascade, name: str) -> dict[str, str]:
    points = [f"{name.upper()}_{identifier(point.name).upper()}" for point in cascade.points]
    if len(set(points)) != len(points):
        raise ArtefactError("two operating points have the same name in C", "Tune the model with other names.")
    names = [point.name for point in cascade.points]
    default = points[names.index(cascade.default_point)]
    return {
        "title": cascade.name,
        "version": __version__,
        "name": name,
        "NAME": name.upper(),
        "points": _lines(points, 2),
        "default_point": default,
        "point_names": ", ".join(f"`{point}`" for point in points),
    }


def _sizes(cascade: DeviceCascade, footprint: Footprint, plan: MemoryPlan, name: str) -> dict[str, str]:
    inputs = zip(cascade.inputs, cascade.input_shapes, strict=True)
    sizes = [
        f"#define {name.upper()}_INPUT{i}_BYTES {port.size_bytes} "
        f"/* {port.tensor}: {' x '.join(map(str, shape[1:]))} */"
        for i, (port, shape) in enumerate(inputs)
    ]
    return {
        "classes": str(len(cascade.labels)),
        "exits": str(cascade.n_exits),
        "inputs": str(len(cascade.inputs)),
        "input_sizes": "\n".join(sizes),
        "components": str(len(cascade.components)),
        "point_count": str(len(cascade.points)),
        "tensors": str(max(len(plan.tensors), 1)),
        "moves": str(max(len(plan.moves), 1)),
        "most_waiting_bytes": str(plan.most_waiting_bytes),
        "waiting_sizes": ", ".join(map(str, sorted(set(plan.waiting_bytes), reverse=True))),
        "model_bytes": str(footprint.graph_bytes),
        "measured_working": str(footprint.measured_working_bytes),
        "working_bytes": str(footprint.working_bytes),
        "persistent_bytes": str(footprint.persistent_bytes),
        "arena_bytes": str(footprint.arena_bytes),
        "component_memory": "\n".join(_component_memory(cascade, footprint)),
    }


def _component_memory(cascade: DeviceCascade, footprint: Footprint) -> Iterator[str]:
    """Yield a row of the README for every component."""
    for c, graph, waiting in zip(cascade.components, footprint.graphs, footprint.waiting_bytes, strict=True):
        yield f"| {c.name} | {graph.graph_bytes} | {graph.working_bytes + waiting} | {graph.persistent_bytes} |"


def _lines(rows: Iterable[str], indent: int) -> str:
    return "\n".join(f"{' ' * indent}{row}," for row in rows)
