"""The file of the table: one npz of arrays and a JSON text, read with numpy alone.

docs/search-table.md documents the format. No torch is imported.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from eetool.errors import ArtefactError
from eetool.records import write_file

FORMAT = "eetool-search-table/1"
PARTS = ("threshold", "judge", "test")
RULE = "rule"  # name of the branch that NACHOS' rule makes; its layers differ by tap
_REMEDY = "Make it with `python benchmarks/tabular_search.py make`, or give the file that it wrote."
_EXAMPLES, _FINAL, _TRUNK, _HEADS = "examples", "final", "trunk", "heads"
_ARRAYS = {
    "labels": "labels",
    "classes": _EXAMPLES,
    "uncertainty": _EXAMPLES,
    "margin": _EXAMPLES,
    "final_classes": _FINAL,
    "final_uncertainty": _FINAL,
    "trunk_macs": _TRUNK,
    "head_macs": _HEADS,
    "trunk_weight_mb": _TRUNK,
    "head_weight_mb": _HEADS,
}
_DTYPES = {"labels": "u1", "classes": "u1", "final_classes": "u1"} | dict.fromkeys(
    ("uncertainty", "margin", "final_uncertainty"), "f2"
)


@dataclass(frozen=True)
class SearchTable:
    """Outputs and costs of every (backbone, tap, branch).

    Attributes:
        meta: the JSON text: names, splits, devices and training.
        arrays: arrays by name, see docs/search-table.md.
    """

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def backbones(self) -> tuple[str, ...]:
        """Names of the backbones."""
        return tuple(one["name"] for one in self.meta["backbones"])

    @property
    def taps(self) -> int:
        """Number of taps of every backbone."""
        return int(self.arrays["classes"].shape[1])

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches; `rule` stands for other layers at every tap."""
        return tuple(self.meta["branches"])

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices that latencies and energies are predicted for."""
        return tuple(self.meta["devices"])

    def part(self, name: str) -> slice:
        """Return the examples of a part."""
        first = 0
        for part in PARTS:
            count = int(self.meta["examples"][part])
            if part == name:
                return slice(first, first + count)
            first += count
        raise KeyError(name)


def arrays_of_device(device: str) -> dict[str, str]:
    """Return the arrays of one device, and the shape of each."""
    return {
        f"{device}_{where}_{unit}": shape
        for where, shape in (("trunk", _TRUNK), ("head", _HEADS))
        for unit in ("latency_ms", "energy_mj")
    }


def write_table(path: Path, table: SearchTable, force: bool) -> None:
    """Write a table atomically.

    Raises:
        OutputError: the file exists and `force` is not given, or it cannot be written.
    """
    with write_file(path, force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, meta=np.array(json.dumps(table.meta)), **table.arrays)  # type: ignore[arg-type]


def read_table(path: Path) -> SearchTable:
    """Read a table.

    Raises:
        ArtefactError: it is missing, no such file, of another version, or its arrays contradict each other.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        meta = json.loads(str(arrays.pop("meta")))
        version = meta["format"]
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist", _REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, BadZipFile) as error:
        raise ArtefactError(f"{path} is no table of a search: {error}", _REMEDY) from None
    if version != FORMAT:
        raise ArtefactError(f"{path} is a table of the format {version!r}; this version reads {FORMAT!r}", _REMEDY)
    table = SearchTable(meta, arrays)
    _check(table, path)
    return table


def _check(table: SearchTable, path: Path) -> None:
    try:
        count = sum(int(table.meta["examples"][part]) for part in PARTS)
        of_backbones = [(one["name"], len(one["taps"]), len(one["branches"])) for one in table.meta["backbones"]]
        sizes = (len(of_backbones), table.taps, len(table.branches))
        wanted = {**_ARRAYS, **{name: s for device in table.devices for name, s in arrays_of_device(device).items()}}
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ArtefactError(f"{path}: its description lacks {error}", _REMEDY) from None
    if not of_backbones or not sizes[1] or not sizes[2]:
        raise ArtefactError(f"{path} has no backbone, or backbones without taps or branches", _REMEDY)
    shapes = {
        "labels": (count,),
        _EXAMPLES: (*sizes, count),
        _FINAL: (sizes[0], count),
        _TRUNK: (sizes[0], sizes[1] + 1),
        _HEADS: sizes,
    }
    for name, kind in wanted.items():
        array = table.arrays.get(name)
        if array is None or array.shape != shapes[kind]:
            found = "missing" if array is None else f"of shape {array.shape}"
            raise ArtefactError(f"{path}: the array {name!r} is {found}, not of shape {shapes[kind]}", _REMEDY)
        if array.dtype != np.dtype(_DTYPES.get(name, "f8")) or not np.isfinite(array).all():
            raise ArtefactError(f"{path}: the array {name!r} holds values that are not finite, or of another type")
    for name, taps, branches in of_backbones:
        if taps != sizes[1] or branches != sizes[1]:
            raise ArtefactError(f"{path}: {name} has {taps} taps, and the arrays have {sizes[1]}", _REMEDY)
