"""Cycles that a user measured, and names of microcontrollers."""

import json
from pathlib import Path
from typing import Any

import pytest

from eetool.errors import ArtefactError, MissingError
from eetool.microcontroller.cycles import read_cycles
from eetool.microcontroller.devices import find_microcontroller, is_microcontroller

GOLDEN = Path(__file__).parents[1] / "golden/mcu_cycles-1.json"


def test_cycles_are_read_for_their_device_and_components() -> None:
    measured = read_cycles(GOLDEN, "cortex-m7", ("seg0", "exit0"))
    assert measured.cycles["seg0"] == 812000
    assert measured.clock_mhz == 480


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cortex-m4"}, "cycles of cortex-m4, not of cortex-m7"),
        ({"cycles": {"seg0": 1}}, "components are seg0, exit0"),
        ({"cycles": {"seg0": 1, "exit0": 0}}, "must be positive"),
        ({"clock_mhz": -1}, "must be positive or null"),
        ({"schema": "profile/1"}, "expected schema 'mcu_cycles/1'"),
    ],
)
def test_cycles_of_something_else_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "cycles.json"
    path.write_text(json.dumps({**json.loads(GOLDEN.read_text()), **change}))
    with pytest.raises(ArtefactError, match=message):
        read_cycles(path, "cortex-m7", ("seg0", "exit0"))


def test_find_microcontroller_names_the_known_ones() -> None:
    assert find_microcontroller("mcu:cortex-m7").vela_accelerator is None
    assert find_microcontroller("mcu:ethos-u55-128").vela_accelerator == "ethos-u55-128"
    assert not is_microcontroller("rpi4")
    with pytest.raises(MissingError, match="unknown microcontroller 'cortex-m8'") as raised:
        find_microcontroller("mcu:cortex-m8")
    assert raised.value.hint is not None
    assert "cortex-m7" in raised.value.hint
