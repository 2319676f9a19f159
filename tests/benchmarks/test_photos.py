"""`benchmarks/photos.py`: the split of photographs, the choice on held-out ones, and the front of measured ways."""

import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.helpers.scripts import load_script

CLASSES = ("glass", "paper")


@pytest.fixture(scope="module")
def split() -> ModuleType:
    return load_script("benchmarks/photo_split.py")


@pytest.fixture(scope="module")
def models() -> ModuleType:
    return load_script("benchmarks/photo_models.py")


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    """Write a tar of files."""
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_unpack_photograph_keeps_its_split_in_another_archive(split: ModuleType, tmp_path: Path) -> None:
    contents = {f"photos/{name}/{i}.jpg": f"{name} {i}".encode() for name in CLASSES for i in range(60)}
    split.unpack(write_archive(tmp_path / "all.tar", {**contents, "photos/readme.txt": b""}), tmp_path / "all")
    fewer = dict(list(contents.items())[::3])
    split.unpack(write_archive(tmp_path / "fewer.tar", fewer), tmp_path / "fewer")
    everything, part = (
        {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.jpg")} for name in ("all", "fewer")
    )
    assert len(everything) == len(contents) == sum(split.counts(tmp_path / "all").values())
    assert len(part) == len(fewer)
    assert part < everything
    assert {path.parts[0] for path in everything} == {"train", "val", "test"}
    for path in everything:
        assert path.parts[0] == split.split_of((tmp_path / "all" / path).read_bytes())


def test_unpack_limit_is_of_each_class(split: ModuleType, tmp_path: Path) -> None:
    contents = {f"{name}/{i}.png": f"{name} {i}".encode() for name in CLASSES for i in range(9)}
    split.unpack(write_archive(tmp_path / "a.tar", contents), tmp_path / "a", limit=4)
    assert sorted(path.parent.name for path in (tmp_path / "a").rglob("*.png")) == ["glass"] * 4 + ["paper"] * 4


def test_split_of_has_the_shares_and_depends_on_the_salt(split: ModuleType) -> None:
    contents = [str(i).encode() for i in range(4000)]
    first, second = ([split.split_of(content, salt) for content in contents] for salt in ("", "1"))
    for name, share in split.SHARES:
        assert first.count(name) / len(first) == pytest.approx(share, abs=0.03)
        assert second.count(name) / len(second) == pytest.approx(share, abs=0.03)
    same = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    assert same == pytest.approx(0.6**2 + 0.15**2 + 0.25**2, abs=0.03)  # as independent splits agree


def test_choose_takes_the_cheapest_point_within_the_drop(models: ModuleType) -> None:
    reference = models.Tried("a", "full", 0.85, 400, (0, 1))
    near, far, exact = (
        models.Tried("b", name, accuracy, macs, (1, 0))
        for name, accuracy, macs in (("balanced", 0.846, 200), ("fast", 0.84, 100), ("drop-2", 0.845, 150))
    )
    assert models.choose([reference, near, far, exact], reference, 0.5) is exact
    assert models.choose([reference, near, far, exact], reference, 1.0) is far
    assert models.choose([far, near], reference, 0.1) is near


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load_script("benchmarks/photo_tables.py")


def way(kind: str, name: str, variant: str, point: str | None, mean_ms: float) -> dict[str, Any]:
    """Return a row of a document of `eetool bench`."""
    latency = {"mean": mean_ms, "p99": 2 * mean_ms}
    return {"kind": kind, "name": name, "variant": variant, "operating_point": point, "latency_ms": latency}


def test_way_rows_have_ratios_within_their_engine_and_process(tables: ModuleType) -> None:
    def document(scale: float) -> dict[str, Any]:
        rows = [("unsplit", "unsplit", None, 9.0), ("early_exit", "fast", "fast", 3.0)]
        static = [
            ("against", f"lite0-224.eebundle {engine}/fp32", None, ms) for engine, ms in (("onnx", 4), ("tflite", 8))
        ]
        ways = [way(kind, name, "tflite/fp32", point, scale * ms) for kind, name, point, ms in rows]
        return {"ways": ways + [way(kind, name, name.split()[1], at, scale * ms) for kind, name, at, ms in static]}

    rows = tables.way_rows({"benches": {"inside": document(1), "cascade": document(2)}})
    found = [(row["network"], row["point"], row["engine"], row["own_ratio"]) for row in rows]
    assert found == [
        ("inside", "fast", "tflite", 3 / 8),
        ("lite0-224", None, "onnx", 1),
        ("lite0-224", None, "tflite", 1),
        ("cascade", "fast", "tflite", 3 / 8),
    ]


def test_front_leaves_out_what_another_way_beats(tables: ModuleType) -> None:
    ways = [
        {"accuracy": a, "own_ratio": r} for a, r in ((0.85, 1.0), (0.85, 0.6), (0.84, 0.6), (0.80, 0.3), (0.79, 0.4))
    ]
    assert tables.front(ways) == [ways[1], ways[3]]


def test_run_keeps_what_a_command_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = load_script("benchmarks/photo_steps.py")
    folder = steps.Folder(tmp_path)
    step = folder.run("refused", "inspect", "absent.pt", codes=(2, 3))
    assert step.code in (2, 3)
    assert step.document["error"]["message"]
    assert step.command == "eetool inspect absent.pt --json"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))  # nothing runs again
    assert folder.run("refused", "inspect", "absent.pt") == step


def test_random_splits_alone_replace_their_table_and_keep_the_choice(tables: ModuleType) -> None:
    goals = [["inside", "≤ 0.70", "inside-advised, drop-2"], ["cascade", "≤ 0.50", "small-then-large, fast"]]
    document = {
        "source": "benchmarks/photos.py",
        "tables": {"goals-met": {"rows": [{"cells": cells} for cells in goals]}, "random-splits": {"rows": []}},
    }
    assert tables.chosen_forms(document) == {"inside": "inside-advised", "cascade": "small-then-large"}

    def split(difference: float) -> dict[str, Any]:
        measured = {"kind": "early_exit", "name": "fast", "operating_point": "fast", "latency_ratio": 0.5}
        full = {"kind": "against", "name": "lite0-224.eebundle", "mean_macs": 400}
        ways = [{**measured, "accuracy_difference": difference, "mean_macs": 100}, full]
        chosen = {"inside": {"form": "inside-advised", "point": "fast"}}
        return {"chosen": chosen, "benches": {"inside": {"reference": full["name"], "ways": ways}}}

    found = tables.with_random_splits(document, [split(1.0), split(-2.0)])
    assert found["tables"]["goals-met"] is document["tables"]["goals-met"]
    cells = [row["cells"] for row in found["tables"]["random-splits"]["rows"]]
    figures = [2, "−0.50 ± 1.50", "0.50 ± 0.00", "0.25 ± 0.00"]
    assert cells == [["inside, by the rule: inside-advised", *figures], ["inside-advised, fast", *figures]]
