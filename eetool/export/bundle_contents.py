"""Fingerprints of the examples that a bundle's model was made with: a file of eetool, which runtimes do not need."""

from dataclasses import dataclass
from pathlib import Path

from eetool.errors import ArtefactError
from eetool.model.spec import CONTENTS
from eetool.records import canonical, read_record
from eetool_runtime.bundle import Bundle

EXAMPLES, EXAMPLES_SCHEMA = "examples.json", "examples/1"
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class _Document:
    contents: str


def write_contents(folder: Path, contents: str | None) -> None:
    """Write the contents of the data of the bundle in `folder`, before its manifest; where unknown, no file."""
    if contents is not None:
        text = canonical({"schema": EXAMPLES_SCHEMA, "contents": contents})
        (folder / EXAMPLES).write_text(text, encoding="utf-8")


def read_contents(bundle: Bundle) -> str | None:
    """Return what `eetool.data.contents.source_contents` gave for the data of a bundle; None where it has no such file.

    Raises:
        ArtefactError: the file is damaged or of another version.
    """
    file = bundle.manifest.files.get(EXAMPLES)
    if file is None:
        return None
    path = bundle.file(EXAMPLES)
    problem: str | None = "is too large"
    if file.size_bytes <= _MAX_BYTES:
        contents = read_record(_Document, path, EXAMPLES_SCHEMA).contents
        problem = None if CONTENTS.fullmatch(contents) else "its fingerprints of examples are none"
    if problem is not None:
        raise ArtefactError(f"{path}: {problem}", "Export the bundle again.")
    return contents
