"""`eetool search --backbone`, from a trained network to its exits."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import numpy as np
import pytest

from eetool.cli.search_backbone import next_line
from eetool.model.checkpoint import load_checkpoint

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/search-1.schema.json").read_text())
QUICK = ("--data", "digits", "--trials", 6, "--examples", 200, "--epochs", 2)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_search_backbone_ends_with_a_command_that_trains_the_exits(cli: Any, trained: Path, here: Path) -> None:
    # MACs, which every exit before the last block saves on this small network; milliseconds it need not.
    result = cli("search", "--backbone", trained, *QUICK, "--objective", "macs", "--max-accuracy-drop", 20)
    assert result.code == 0, result
    document = json.loads((here / "search.front.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["space"]["name"].startswith("exits of ")
    assert document["algorithm"] == "local"
    assert document["cheapest"] in [c["id"] for c in document["front"]]
    line = next(line for line in result.stdout.splitlines() if line.startswith("next: "))
    words = shlex.split(line.removeprefix("next: "))
    assert words[:2] == ["eetool", "train"]
    assert "cheapest" in words
    trained_exits = cli(*words[1:], "--epochs", 2)
    assert trained_exits.code == 0, trained_exits
    chosen = next(c for c in document["front"] if c["id"] == document["cheapest"])
    spec = load_checkpoint(here / "early_exit.pt").record.spec
    assert (list(spec.taps), list(spec.branches)) == (chosen["taps"], chosen["branches"])


def test_next_line_without_exits_says_that_none_pays() -> None:
    front = SimpleNamespace(
        cheapest="b", knee="a", front=[SimpleNamespace(id="a", taps=("t",)), SimpleNamespace(id="b", taps=())]
    )
    assert next_line(Path("search.front.json"), cast(Any, front), ()).startswith("no early exit pays")
    front.cheapest = None
    assert next_line(Path("search.front.json"), cast(Any, front), ("--data", "digits")).startswith(
        "next: eetool train --from"
    )


def test_search_backbone_resumes_without_repeating(cli: Any, trained: Path, here: Path) -> None:
    first = cli("search", "--backbone", trained, *QUICK)
    before = timeless(here / "search.front.json")
    again = cli("search", "--backbone", trained, *QUICK, "--resume", "--force")
    assert (first.code, again.code) == (0, 0)
    assert timeless(here / "search.front.json") == before  # also the networks of trained exits, which are not stored


def timeless(path: Path) -> Any:
    document = json.loads(path.read_text())
    for candidate in document["front"]:
        candidate.pop("seconds")
    return document


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "either --space or --backbone"),
        (("--space", "resnet", "--backbone", "resnet20"), "either --space or --backbone"),
        (("--space", "resnet", "--normalize", "imagenet"), "--normalize is for a --backbone"),
        (("--backbone", "resnet20", "--supernet", "s.pt"), "--supernet is for a --space"),
        (("--backbone", "resnet20", "--sizes", "24,32"), "--sizes is for a --space"),
        (("--backbone", "resnet20", "--trials", "0"), "--trials 0"),
        (("--backbone", "resnet20", "--weights-key", "model"), "--weights-key without --weights"),
    ],
)
def test_search_contradicting_options_are_refused(
    refused: Callable[..., None], options: tuple[str, ...], words: str, here: Path
) -> None:
    refused(2, words, "search", "--data", "digits", *options)


def test_search_backbone_without_a_place_for_exits_is_refused(refused: Callable[..., None], here: Path) -> None:
    (here / "flat_net.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))\n"
    )
    refused(2, "no place for an early exit", "search", "--backbone", "flat_net:make", *QUICK)


def test_search_backbone_of_other_classes_is_refused(refused: Callable[..., None], trained: Path, here: Path) -> None:
    data = (*("--data", "npz:other.npz"), *QUICK[2:])
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (400, 1, 32, 32), dtype=np.uint8), np.arange(400) % 3
    np.savez(here / "other.npz", images=x, labels=y)
    refused(3, "other classes", "search", "--backbone", trained, *data)


def test_search_backbone_without_trained_weights_is_refused(refused: Callable[..., None], here: Path) -> None:
    refused(3, "not trained for these data", "search", "--backbone", "resnet8", *QUICK)
