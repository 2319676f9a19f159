"""`eetool advise`: a forecast, and commands that run as they are printed."""

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from eetool.data.source import Source

SCHEMA = json.loads((Path(__file__).parents[2] / "eetool/schemas/advise-1.schema.json").read_text())
FACTORIES = """
import torch
from torch import nn

def single():
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))

def other():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 28 * 28, 7))

def untrained():
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(64, 10))
"""
SHORT = ("--examples", 200, "--epochs", 2)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "advised_nets.py").write_text(FACTORIES)
    return tmp_path


def test_advise_trained_network_gives_a_forecast_and_commands_that_run(
    cli: Any, trained: Path, bundle: Path, here: Path
) -> None:
    static = next((bundle / "reference/unsplit/onnx-fp32").glob("*.onnx"))
    options = ("--data", "digits", "--device", "rpi4", "--max-accuracy-drop", 5, "--against", static)
    result = cli("advise", trained, *options, *SHORT, "--exits", 2, "-o", here / "advice.json")
    assert result.code == 0, result
    assert "wrote " in result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if not line.startswith(("  eetool", "wrote")))
    document = json.loads((here / "advice.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (document["device"], document["unit"], document["provenance"]) == ("rpi4", "latency_ms", "predicted")
    assert document["int8"]["cost"] is None
    assert document["int8"]["reason"]
    (rival,) = document["rivals"]
    assert rival["accuracy"] == pytest.approx(document["unsplit"]["accuracy"], abs=0.01)
    assert rival["ratio"] == pytest.approx(1, abs=0.1)
    assert {b["branch"] for tap in document["taps"] for b in tap["branches"]} == {
        "linear",
        "max2,conv3-32,max2,conv3-64",
    }
    frozen = next(step for step in document["next"] if step["recipe"] == "frozen")
    verbs = []
    for line in frozen["commands"]:
        _, verb, *words = shlex.split(line)
        verbs.append(verb)
        short = {"train": ["--epochs", "1"], "bench": ["--passes", "1", "--min-seconds", "0"]}.get(verb, [])
        output = cli(verb, *words, *short)
        assert output.code == 0, f"{line}\n{output}"
    assert verbs == ["train", "tune", "export", "bench", "estimate"]
    assert document["exits"][0]["tap"] in frozen["commands"][0]


def test_advise_without_device_compares_macs(cli: Any, trained: Path) -> None:
    document = cli("advise", trained, "--data", "digits", *SHORT, "--exits", 1, "--json").document
    assert (document["unit"], document["device"], document["int8"]) == ("macs", None, None)
    assert document["unsplit"]["cost"] == pytest.approx(11.9e6, rel=0.05)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("advised_nets:single", "no place for an early exit"),
        ("advised_nets:other", "has 7 outputs"),
        ("advised_nets:untrained", "not trained for these data"),
    ],
)
def test_advise_network_that_cannot_be_judged_is_refused(cli: Any, here: Path, model: str, words: str) -> None:
    result = cli("advise", model, "--data", "digits", *SHORT)
    assert result.code in (2, 3), result
    assert words in result.stderr
    assert "       " in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--device", "host"), 2, "is measured"),
        (("--device", "rpi9"), 5, "unknown device"),
        (("--against", "missing.onnx"), 3, "does not exist"),
        (("--weights", "missing.pt"), 3, "does not exist"),
        (("--weights-key", "ema"), 2, "without --weights"),
        (("--new-classifier",), 2, "without --weights"),
        (("--normalize", "1,2"), 2, "no mean and deviation"),
        (("-o", "no/such/folder/a.json"), 2, "is not a folder"),
    ],
    ids=str,
)
def test_advise_wrong_options_are_refused_before_data_are_read(
    cli: Any, here: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    result = cli("advise", "resnet8", "--data", "cifar10", *options)
    assert result.code == code, result
    assert words in result.stderr


def test_advise_few_examples_are_refused_or_leave_the_verdict_open(cli: Any, here: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(here / "few.npz", images=random.integers(0, 256, (30, 1, 8, 8), np.uint8), labels=np.arange(30) % 10)
    result = cli("advise", "resnet8", "--data", "npz:few.npz", *SHORT)
    assert result.code == 3
    assert "more examples" in result.stderr


def test_advise_new_classifier_is_fitted_and_repeated_in_commands(
    cli: Any, trained: Path, digits: Source, here: Path
) -> None:
    np.savez(here / "odd.npz", images=digits.inputs, labels=digits.labels % 2, classes=["even", "odd"])
    arguments = ("advise", "resnet8", "--data", "npz:odd.npz", "--weights", trained, *SHORT, "--exits", 1)
    refused = cli(*arguments)
    assert refused.code == 3
    assert "made for 10 classes: --new-classifier" in refused.stderr
    output = cli(*arguments, "--new-classifier", "--json")
    assert output.code == 0, output
    assert output.document["unsplit"]["accuracy"] > 0.8
    trainings = [s["commands"][0] for s in output.document["next"] if s["recipe"] in ("frozen", "distill")]
    assert len(trainings) == 2
    assert all(f"--weights {trained} --new-classifier" in command for command in trainings)
