"""GELU, which microcontrollers lack: named with its module and an alternative, before a network is trained."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tflm_bundle import HAS_TFLM, WITHOUT_TFLM

pytestmark = [
    pytest.mark.skipif(not HAS_TFLM, reason=WITHOUT_TFLM),
    pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="litert-torch is not installed"),
]
Cli = Callable[..., Any]  # see tests/conftest.py
NETWORKS = "tests.helpers.own_networks"
PLACE = r"gelu in activation \(GELU\), own_networks\.py:\d+"
MESSAGE = PLACE + r": .*TFLM has no operator \w+; use ReLU6 or Hardswish"


def test_train_for_microcontrollers_refuses_before_training(cli: Cli, tmp_path: Path) -> None:
    options = ("--data", "digits", "--exits", 0, "--trial-export", "tflm")
    output = cli("train", f"{NETWORKS}:WithGelu", *options, "-o", tmp_path / "m.pt")
    assert output.code == 3, output
    assert said(MESSAGE, output), output
    assert said("--trial-export none trains without", output), output
    assert not said(r"epoch +1\b", output), output
    assert list(tmp_path.iterdir()) == []


def test_export_for_microcontrollers_refuses_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    options = ("--exits", 0, "--epochs", 0, "--input", "1x1x32x32")
    network = f"{NETWORKS}:WithTanhGelu"
    output = cli("train", network, *options, "-o", tmp_path / "m.pt")
    assert output.code == 0, output
    made = ("-o", tmp_path / "m.eebundle", "--source", tmp_path / "firmware")
    output = cli("export", tmp_path / "m.pt", "--model", network, "--target", "mcu", *made)
    assert output.code == 3, output
    assert said(MESSAGE, output), output
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def said(pattern: str, output: Any) -> bool:
    """Return whether a command said something, wherever its lines were broken."""
    return re.search(pattern, " ".join((output.stdout + output.stderr).split())) is not None
