"""Hw profiles: reading, validation, and look-up by name, alias and board."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eetool.errors import ArtefactError, MissingError
from eetool.latency.table import hw_profile
from eetool.latency.table.hw_profile import (
    device_name_of_board,
    find_device,
    is_board,
    known_devices,
    profile_document,
    profiles_folder,
    read_profile,
)

SCHEMA = json.loads((Path(__file__).parents[3] / "eetool/schemas/hw_profile-1.schema.json").read_text())

BOARD: dict[str, Any] = {
    "schema": "hw_profile/1",
    "name": "board1",
    "title": "Board One",
    "aliases": ["first-board"],
    "facts": {
        "soc": "SoC",
        "cpu": "Cortex-A72",
        "cores": 4,
        "clock_mhz": 1500,
        "isa": ["armv8-a", "neon"],
        "memory_mib": [1024, 2048],
    },
    "power": [{"state": "idle", "power_w": 2.5, "scope": "board_gross", "provenance": "measured", "source": "paper"}],
    "table": [
        {
            "kind": "measured",
            "kernel": "global_pool",
            "shape": {"channels": 3, "height": 8, "width": 8},
            "precision": "fp32",
            "backend": "onnxruntime",
            "threads": 1,
            "source": "paper",
            "count": 5,
            "median_ms": 1.5,
            "spread_ms": 0.1,
        },
        {
            "kind": "fitted",
            "kernel": "linear",
            "shape": {"in_features": 4, "out_features": 2},
            "precision": "int8",
            "backend": "litert",
            "threads": 4,
            "source": "paper",
            "latency_ms": 0.5,
            "n": 30,
            "cv_error": 0.05,
        },
    ],
    "regressions": [],
    "compositions": [],
    "sources": [{"id": "paper", "title": "A paper", "licence": "CC-BY-4.0"}],
}


def write(folder: Path, value: dict[str, Any]) -> Path:
    path = folder / "board1.json"
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def one_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = (read_profile(write(tmp_path, BOARD)),)
    monkeypatch.setattr(hw_profile, "known_devices", lambda: known)


def test_read_profile_round_trips(tmp_path: Path) -> None:
    jsonschema.validate(BOARD, SCHEMA)
    profile = read_profile(write(tmp_path, BOARD))
    assert (profile.entries("measured"), profile.entries("fitted")) == (1, 1)
    assert {"schema": "hw_profile/1", **profile_document(profile)} == BOARD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="hw_profile/2"), "expected schema 'hw_profile/1'"),
        (lambda d: d["facts"].pop("soc"), "facts.soc: missing field"),
        (lambda d: d["facts"].update(mhz=3), "facts.mhz: unknown field"),
        (lambda d: d["power"][0].update(power_w=0), r"power\[0\].power_w: must be positive"),
        (lambda d: d["power"][0].update(state="busy"), r"power\[0\].state: expected idle, stress"),
        (lambda d: d["power"][0].update(scope="board"), r"power\[0\].scope"),
        (lambda d: d["power"][0].update(provenance="heard"), r"power\[0\].provenance"),
        (lambda d: d["power"][0].update(source="friend"), "'friend' is not among the sources"),
        (lambda d: d["table"][0].update(kind="guessed"), r"board1.json: table\[0\].kind"),
    ],
)
def test_read_profile_invalid_field_raises_artefact_error(tmp_path: Path, change: Any, message: str) -> None:
    value = copy.deepcopy(BOARD)
    change(value)
    with pytest.raises(ArtefactError, match=message):
        read_profile(write(tmp_path, value))


@pytest.mark.usefixtures("one_board")
@pytest.mark.parametrize("name", ["board1", "Board1", "first-board"])
def test_find_device_by_name_or_alias_in_any_case(name: str) -> None:
    assert find_device(name).name == "board1"


@pytest.mark.usefixtures("one_board")
def test_find_device_unknown_raises_missing_error_with_similar_names() -> None:
    with pytest.raises(MissingError, match="unknown device 'bord1'") as near:
        find_device("bord1")
    assert near.value.hint == "Did you mean board1? Known devices: host, board1."
    with pytest.raises(MissingError) as far:
        find_device("zzz")
    assert far.value.hint == "Known devices: host, board1."


@pytest.mark.parametrize(
    ("board", "same"), [("Board One Rev 1.4", True), ("Board Two", False), ("Board", False), (None, False)]
)
def test_is_board_compares_device_tree_model(tmp_path: Path, board: str | None, same: bool) -> None:
    assert is_board(read_profile(write(tmp_path, BOARD)), board) is same


def test_is_board_plus_spelt_out_matches() -> None:
    assert is_board(find_device("rpi3"), "Raspberry Pi 3 Model B Plus Rev 1.3")
    assert not is_board(find_device("rpi3"), "Raspberry Pi 3 Model B Rev 1.2")


def test_device_name_of_board_known_or_none() -> None:
    assert device_name_of_board("Raspberry Pi 5 Model B Rev 1.0") == "rpi5"
    assert device_name_of_board("Some other board") is None
    assert device_name_of_board(None) is None


def test_known_devices_have_unique_names_and_valid_documents() -> None:
    known = known_devices()
    names = [name for profile in known for name in (profile.name, *profile.aliases)]
    assert len({name.lower() for name in names} | {"host"}) == len(names) + 1
    for profile in known:
        jsonschema.validate({"schema": "hw_profile/1", **profile_document(profile)}, SCHEMA)


def test_profiles_folder_prefers_package_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, top_level = tmp_path / "eetool", tmp_path / "hw_profiles"
    package.mkdir()
    monkeypatch.setattr(hw_profile, "__file__", str(package / "latency/table/hw_profile.py"))
    assert profiles_folder() == top_level
    (package / "hw_profiles").mkdir()
    assert profiles_folder() == package / "hw_profiles"
