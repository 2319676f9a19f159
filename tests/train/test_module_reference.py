"""References of code of the user's own."""

import sys
from pathlib import Path

import pytest

from eetool.train.module_reference import folder_of_commands, named_references
from tests.helpers.own_networks import wide


def test_folder_of_commands_code_beside_the_program_is_found_there_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "beside.py").write_text("")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(folder / "train.py"), raising=False)
    monkeypatch.syspath_prepend(folder)
    assert folder_of_commands("beside:Net") == str(folder)
    assert folder_of_commands("absent:Net") is None
    assert folder_of_commands("resnet8") is None
    assert folder_of_commands("json.decoder:JSONDecoder") is None
    monkeypatch.chdir(folder)
    assert folder_of_commands("beside:Net") is None


def test_named_references_takes_code_and_names() -> None:
    name = "tests.helpers.own_networks:wide"
    assert named_references(None) == ()
    assert named_references(name) == named_references(wide) == named_references([wide]) == (name,)
