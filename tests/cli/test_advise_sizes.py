"""`eetool advise --sizes`: smaller photographs alone and in front, and commands that make the cascade."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.helpers.photographs import write_photographs

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/advise-1.schema.json").read_text())
FLAT = """
from torch import nn

def flat():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(2),
    )
"""
SHORT = ("--exits", 1, "--examples", 80, "--epochs", 2)


@pytest.fixture(scope="module")
def made(once: Callable[..., Path], cli: Callable[..., Any]) -> Path:
    """A folder with photographs, and a network that was trained on them at 32 pixels."""

    def make(folder: Path) -> None:
        write_photographs(folder / "photos", count=80, spread=235)
        data = f"folder:{folder / 'photos'}@32"
        result = cli("train", "resnet8", "--data", data, "--exits", 0, "--epochs", 4, "-o", folder / "m.pt")
        assert result.code == 0, result

    return once("advise-sizes", make)


def test_advise_sizes_gives_a_forecast_and_commands_that_run(
    cli: Any, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--data", f"folder:{made / 'photos'}", "--sizes", "16,24", "--device", "rpi4", *SHORT)
    result = cli("advise", made / "m.pt", *options, "--max-accuracy-drop", 10, "-o", "a.json")
    assert result.code == 0, result
    assert "Cheapest within the drop" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if not line.startswith(("  eetool", "wrote")))
    document = json.loads(Path("a.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    sizes = document["sizes"]
    assert sizes["full"] == 32
    assert [one["size"] for one in sizes["alone"]] == [16, 24]
    assert 0 < sizes["alone"][0]["ratio"] < sizes["alone"][1]["ratio"] < 1
    assert sizes["cascade"][-1] == 32
    assert [p["name"] for p in sizes["points"]] == ["balanced", "fast"]
    steps = next(step for step in document["next"] if step["recipe"] == "sizes")
    verbs = []
    for line in steps["commands"]:
        _, verb, *words = shlex.split(line)
        verbs.append(verb)
        short = {"bench": ["--passes", "1", "--min-seconds", "0"]}.get(verb, [])
        if verb == "train" and "--epochs" not in words:
            short = ["--epochs", "1"]
        output = cli(verb, *words, *short)
        assert output.code == 0, f"{line}\n{output}"
    assert verbs == [*["train"] * len(sizes["cascade"]), "cascade", "tune", "export", "bench", "estimate"]
    assert cli("report", "a.json", "-o", "a.html").code == 0
    assert "16 px alone" in Path("a.html").read_text()


def test_advise_sizes_network_of_one_size_is_refused(
    cli: Any, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat_nets.py").write_text(FLAT.replace("LazyLinear(2)", "Linear(64, 2)"))
    data = ("--data", f"folder:{made / 'photos'}", "--input", "3x32x32")
    trained = cli("train", "flat_nets:flat", *data, "--exits", 0, "--epochs", 4, "-o", "flat.pt")
    assert trained.code == 0, trained
    result = cli("advise", "flat.pt", "--model", "flat_nets:flat", *data, "--sizes", "16", *SHORT)
    assert result.code == 2, result
    assert "does not run at 16 px" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "digits", "--sizes", "16"), "examples of one size"),
        (("--data", "digits", "--sizes", "0"), "no sizes in pixels"),
        (("--data", "digits", "--sizes", "16,x"), "no sizes in pixels"),
    ],
)
def test_advise_sizes_that_cannot_be_tried_are_refused(
    refused: Callable[..., None], trained: Path, options: tuple[str, ...], words: str
) -> None:
    refused(2, words, "advise", trained, *options)
