"""`eetool export --source DIR`: C++ source for a microcontroller from a bundle."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.output import CommandResult

if TYPE_CHECKING:
    from eetool.microcontroller.source_files import SourceFolder

_KIB = 1024


def is_bundle(path: Path) -> bool:
    """Return whether a path is that of a bundle."""
    from eetool.artefact_kinds import BUNDLE, identify

    return identify(path).kind == BUNDLE


def source_result(bundle: Path, folder: Path, force: bool) -> CommandResult:
    """Write the source of an existing bundle, and return the result of the command."""
    from eetool.records import check_output

    check_output(folder, force, directory=True)
    written = _write(bundle, folder, force)
    return CommandResult("export_source/1", _document(written), _text(written))


def with_source(result: CommandResult, bundle: Path, folder: Path, force: bool) -> CommandResult:
    """Write the source of the bundle that a command has just written, and add it to the result."""
    written = _write(bundle, folder, force)
    document = {**result.document, "source": _document(written)}
    return replace(result, document=document, text=[*result.text, *_text(written)])


def _write(bundle: Path, folder: Path, force: bool) -> "SourceFolder":
    from eetool.microcontroller.cascade import read_cascade
    from eetool.microcontroller.footprint import measure_footprint
    from eetool.microcontroller.source_files import write_source
    from eetool.records import sha256_file
    from eetool_runtime import open_bundle
    from eetool_runtime.bundle import MANIFEST

    cascade = read_cascade(open_bundle(bundle))
    return write_source(cascade, measure_footprint(cascade), sha256_file(bundle / MANIFEST), folder, force)


def _document(written: "SourceFolder") -> dict[str, Any]:
    return {
        "output": str(written.path),
        "prefix": written.prefix,
        "files": written.files,
        "memory": written.memory,
    }


def _text(written: "SourceFolder") -> list[str]:
    memory = written.memory
    return [
        f"wrote {written.path}: {memory.graph_bytes / _KIB:.1f} KiB of graphs for flash, an arena of "
        f"{memory.arena_bytes / _KIB:.1f} KiB for RAM; the interface is src/{written.prefix}.h"
    ]
