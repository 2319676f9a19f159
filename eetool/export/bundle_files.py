"""Files of a bundle besides its graphs: arrays, goals, fingerprints of examples, and the manifest that hashes all."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eetool.errors import ArtefactError
from eetool.model.goals import TuningGoals, invalid_goal
from eetool.model.spec import CONTENTS
from eetool.records import canonical, encode, read_record, sha256_file
from eetool_runtime import Bundle
from eetool_runtime.manifest import NEWEST_VERSION, SCHEMA_VERSION, File, Manifest

GOALS, GOALS_SCHEMA = "goals.json", "goals/1"
EXAMPLES, EXAMPLES_SCHEMA = "examples.json", "examples/1"
_MAX_GOALS_BYTES = _MAX_EXAMPLES_BYTES = 1 << 16


@dataclass(frozen=True)
class _Examples:
    contents: str


def bundle_name(path: Path) -> str:
    """Return the name of the bundle at `path`, with a hyphen for characters that a manifest does not allow."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".eebundle"))
    return plain.strip("._-")[:128] or "bundle"


def copy_files(bundle: Bundle, folder: Path) -> None:
    """Copy every file that a bundle lists, without its manifest, to `folder`."""
    for relative in bundle.manifest.files:
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.file(relative), folder / relative)


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with its version and the size and SHA-256 of every file in `folder`, and return it."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        files[path.relative_to(folder).as_posix()] = File(sha256_file(path), path.stat().st_size)
    sealed = replace(manifest, files=files, schema_version=_needed_version(manifest))
    (folder / "manifest.json").write_text(canonical(sealed), encoding="utf-8")
    return sealed


def _needed_version(m: Manifest) -> str:
    """Return the earliest version of the format that has all that `m` uses."""
    shared = any(variant.shared_file is not None for variant in m.variants.values())
    later = shared or m.stream is not None or m.offload is not None
    return NEWEST_VERSION if later else SCHEMA_VERSION


def write_goals(folder: Path, goals: TuningGoals | None) -> None:
    """Write the goals of the bundle in `folder`, before its manifest is written; where unknown, no file."""
    if goals is None:
        return
    fields = encode(goals)
    for later in ("default", "max_reaction_s"):  # later additions, which readers of earlier versions refuse
        if fields[later] is None:
            del fields[later]
    (folder / GOALS).write_text(canonical({"schema": GOALS_SCHEMA, **fields}), encoding="utf-8")


def read_goals(bundle: Bundle) -> TuningGoals | None:
    """Return the goals that a bundle records; None for a bundle of an untuned model or of an earlier version.

    Raises:
        ArtefactError: the file is damaged or of another version.
    """
    file = bundle.manifest.files.get(GOALS)
    if file is None:
        return None
    path = bundle.file(GOALS)
    problem: str | None = "is too large"
    if file.size_bytes <= _MAX_GOALS_BYTES:
        goals = read_record(TuningGoals, path, GOALS_SCHEMA)
        problem = invalid_goal(goals)
    if problem is not None:
        raise ArtefactError(f"{path}: {problem}", "Export the bundle again.")
    return goals


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
    if file.size_bytes <= _MAX_EXAMPLES_BYTES:
        contents = read_record(_Examples, path, EXAMPLES_SCHEMA).contents
        problem = None if CONTENTS.fullmatch(contents) else "its fingerprints of examples are none"
    if problem is not None:
        raise ArtefactError(f"{path}: {problem}", "Export the bundle again.")
    return contents


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` archive. The same arrays give the same bytes: numpy stores no time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)
