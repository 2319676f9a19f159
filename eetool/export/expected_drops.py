"""Expected accuracy drops of a bundle's operating points, with their intervals: a file of eetool beside the goals.

Runtimes do not need it, so it is no part of the manifest. Bundles of earlier versions have none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eetool.errors import ArtefactError
from eetool.model.spec import ExpectedDrop, invalid_drops
from eetool.records import canonical, encode, read_record
from eetool_runtime.bundle import Bundle

DROPS, DROPS_SCHEMA = "expected_drops.json", "expected_drops/1"
_MAX_BYTES = 1 << 20
Drops = dict[str, ExpectedDrop]  # by operating point


@dataclass(frozen=True)
class _Document:
    variants: dict[str, Drops]


def write_drops(folder: Path, variants: Mapping[str, Drops]) -> None:
    """Write the drops of variants of the bundle in `folder`, before its manifest is written; without any, no file."""
    known = {name: drops for name, drops in variants.items() if drops}
    if known:
        text = canonical({"schema": DROPS_SCHEMA, "variants": encode(known)})
        (folder / DROPS).write_text(text, encoding="utf-8")


def read_drops(bundle: Bundle) -> dict[str, Drops]:
    """Return the drops of a bundle by variant and operating point; those that are gone are left out.

    Raises:
        ArtefactError: the file is damaged or of another version.
    """
    file = bundle.manifest.files.get(DROPS)
    if file is None:
        return {}
    path = bundle.file(DROPS)
    problem: str | None = "is too large"
    if file.size_bytes <= _MAX_BYTES:
        variants = read_record(_Document, path, DROPS_SCHEMA).variants
        problem = next(filter(None, map(invalid_drops, variants.values())), None)
    if problem is not None:
        raise ArtefactError(f"{path}: {problem}", "Tune the bundle again, or export it anew.")
    points = {name: variant.operating_points for name, variant in bundle.manifest.variants.items()}
    return {
        name: {point: drop for point, drop in drops.items() if point in points[name]}
        for name, drops in variants.items()
        if name in points
    }
