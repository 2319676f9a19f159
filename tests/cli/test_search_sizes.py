"""`eetool search --sizes`: the size of images is searched, and the trained network reads photographs at it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eetool.model.checkpoint import load_checkpoint
from tests.helpers.photographs import write_photographs

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/search-1.schema.json").read_text())
QUICK = ("--trials", 3, "--algorithm", "random", "--supernet-epochs", 1, "--batch-size", 16, "--epochs", 1)


def test_search_sizes_candidate_is_trained_and_exported_at_its_size(cli: Callable[..., Any], tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos")
    data, front = f"folder:{tmp_path / 'photos'}", tmp_path / "front.json"
    space = ("--space", "tests.helpers.small_spaces:mobile", "--data", data)
    found = cli("search", *space, "--sizes", "24,16", *QUICK, "-o", front)
    assert found.code == 0, found
    assert "px" in found.stdout
    document = json.loads(front.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    sizes = {c["size"] for c in document["front"]}
    assert sizes <= {16, 24}
    candidate = document["front"][0]
    assert candidate["backbone"].endswith(f"@{candidate['size']}")
    given = ("--from", front, "--pick", candidate["id"], "--data", f"{data}@24", "--epochs", 1)
    trained = cli("train", *given, "-o", tmp_path / "m.pt")
    assert trained.code == 0, trained
    assert f"read at {candidate['size']}x{candidate['size']}" in trained.stderr
    spec = load_checkpoint(tmp_path / "m.pt").record.spec
    assert spec.inputs[0].shape[2:] == (candidate["size"],) * 2
    assert spec.inputs[0].preprocess is not None
    assert spec.inputs[0].preprocess.resize is not None
    assert "@" not in spec.backbone
    assert cli("export", tmp_path / "m.pt", "--no-reference", "-o", tmp_path / "m.eebundle").code == 0
    manifest = json.loads((tmp_path / "m.eebundle/manifest.json").read_text())
    assert manifest["inputs"][0]["shape"][2:] == [candidate["size"]] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "digits", "--sizes", "64"), "larger than the images"),
        (("--data", "digits", "--sizes", "a"), "no sizes in pixels"),
    ],
)
def test_search_sizes_that_data_lack_are_refused(
    refused: Callable[..., None], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    refused(2, words, "search", "--space", "tests.helpers.small_spaces:mobile", *options, "-o", tmp_path / "f.json")
