"""The files of a bundle besides its graphs: arrays, and the manifest that seals everything."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from eetool.records import canonical, sha256_file
from eetool_runtime.manifest import File, Manifest


def bundle_name(path: Path) -> str:
    """Name of the bundle at `path`; what the names in a manifest may not hold becomes a hyphen."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".eebundle"))
    return plain.strip("._-")[:128] or "bundle"


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with the size and SHA-256 of every file in `folder`; returns what was written."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        files[path.relative_to(folder).as_posix()] = File(sha256_file(path), path.stat().st_size)
    sealed = replace(manifest, files=files)
    (folder / "manifest.json").write_text(canonical(sealed), encoding="utf-8")
    return sealed


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz`; numpy stores no time in it, so the same arrays give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)
