"""Files of a bundle besides its graphs: arrays, the goals of its policy, and the manifest that hashes all files."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from eetool.errors import ArtefactError
from eetool.model.goals import TuningGoals, invalid_goal
from eetool.records import canonical, encode, read_record, sha256_file
from eetool_runtime import Bundle
from eetool_runtime.manifest import File, Manifest

GOALS, GOALS_SCHEMA = "goals.json", "goals/1"
_MAX_GOALS_BYTES = 1 << 16


def bundle_name(path: Path) -> str:
    """Return the name of the bundle at `path`, with a hyphen for characters that a manifest does not allow."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".eebundle"))
    return plain.strip("._-")[:128] or "bundle"


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with the size and SHA-256 of every file in `folder`, and return it."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        files[path.relative_to(folder).as_posix()] = File(sha256_file(path), path.stat().st_size)
    sealed = replace(manifest, files=files)
    (folder / "manifest.json").write_text(canonical(sealed), encoding="utf-8")
    return sealed


def write_goals(folder: Path, goals: TuningGoals) -> None:
    """Write the goals of the bundle in `folder`, before its manifest is written."""
    fields = encode(goals)
    if goals.default is None:  # a later addition, which readers of earlier versions refuse
        del fields["default"]
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


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` archive. The same arrays give the same bytes: numpy stores no time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)
