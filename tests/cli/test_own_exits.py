"""A network with exits of its own through every command, and the choice among several outputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from eetool.model.checkpoint import load_checkpoint
from eetool.tune.exit_costs import manifest_macs, model_macs
from eetool_runtime import load, open_bundle
from tests.helpers import multi_exit_networks as networks

Cli = Callable[..., Any]
REFERENCE = networks.reference("shared")
SCHEMA = Path(__file__).parents[2] / "eetool/schemas/inspect-1.schema.json"


@pytest.fixture(scope="module")
def folder(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`patterns.npz`, and `own.pt` and `own.eebundle` of the network whose deepest exit comes first."""
    here = tmp_path_factory.mktemp("own")
    features, labels = networks.patterns()
    np.savez(here / "patterns.npz", features=features, labels=labels)
    data, model = ("--data", f"npz:{here / 'patterns.npz'}"), ("--model", REFERENCE)
    for command in (
        ("train", REFERENCE, *data, "--exits", "own", "--epochs", 15, "--batch-size", 16, "-o", here / "raw.pt"),
        ("tune", here / "raw.pt", *data, *model, "--max-accuracy-drop", 5, "-o", here / "own.pt"),
        ("export", here / "own.pt", *model, "--no-reference", "--no-simplify", "-o", here / "own.eebundle"),
    ):
        result = cli(*command)
        assert result.code == 0, result
    return here


def test_export_own_exits_one_by_one_are_the_authors_outputs(folder: Path) -> None:
    state = load_checkpoint(folder / "own.pt", [REFERENCE]).state
    network = networks.make("shared").eval()
    network.load_state_dict({name.removeprefix("backbone."): x for name, x in state.items()})
    model, images = load(folder / "own.eebundle"), networks.patterns()[0][:8]
    for image in images:
        with torch.no_grad():
            deep, middle, shallow = network(torch.from_numpy(image[None]))
        found = [logits for logits, _ in model.every_exit(image[None])]
        for logits, expected in zip(found, (shallow, middle, deep), strict=True):
            assert np.allclose(logits, expected.numpy(), atol=1e-4)


def test_export_own_exits_decide_and_leave_early(folder: Path) -> None:
    images, labels = networks.patterns()
    model = load(folder / "own.eebundle")
    results = [model(image[None]) for image in images[:60]]
    assert np.mean([r.label == str(label) for r, label in zip(results, labels, strict=False)]) > 0.8
    assert len({r.exit for r in results}) > 1


def test_export_own_exits_bundle_has_segments_heads_and_macs(folder: Path) -> None:
    manifest = open_bundle(folder / "own.eebundle").manifest
    assert [c.name for c in manifest.components] == ["seg0", "exit0", "seg1", "exit1", "exit2"]
    assert [e.tap for e in manifest.exits] == ["output 2", "output 1", None]
    spec = load_checkpoint(folder / "own.pt", [REFERENCE]).record.spec
    assert manifest_macs(manifest) == model_macs(spec)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("verify", "own.eebundle"), ["computes what it records"]),
        (
            ("inspect", "own.pt", "--model", REFERENCE),
            ["own exits of the network: 2, 1, 0", "output 2", "own exit 0", "own exit 1"],
        ),
        (("estimate", "own.pt", "--model", REFERENCE, "--device", "rpi4"), ["predicted", "balanced"]),
    ],
)
def test_commands_take_own_exits(cli: Cli, folder: Path, command: tuple[str, ...], words: list[str]) -> None:
    verb, file, *options = command
    result = cli(verb, folder / file, *options)
    assert result.code == 0, result
    assert [word for word in words if word not in result.stdout] == []


def test_inspect_network_with_several_outputs_lists_them(cli: Cli) -> None:
    reference = networks.reference("dict of list")
    result = cli("inspect", reference, "--input", "1x1x8x8")
    assert result.code == 0, result
    assert result.stdout.count("can be class logits") == 3
    assert "train needs --logits logits.2, or train --exits own where they are its own early exits" in result.stdout
    document = cli("inspect", reference, "--input", "1x1x8x8", "--json").document
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    assert [(x["name"], x["logits"]) for x in document["outputs"]] == [
        *((f"logits.{i}", True) for i in range(3)),
        ("features", False),
    ]


def test_train_network_with_several_outputs_asks_and_takes_the_named_one(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    options = (networks.reference("list"), "--epochs", 0, "--input", "1x1x8x8", "--exits", 1, "-o", path)
    refused = cli("train", *options)
    assert refused.code == 2
    assert "3 outputs that can be the class logits: 0 (3x10), 1 (3x10), 2 (3x10)" in refused.stderr
    assert not path.exists()
    result = cli("train", *options, "--logits", 2)
    assert result.code == 0, result
    assert load_checkpoint(path, [networks.reference("list")]).record.spec.outputs == ("2",)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--exits", "few"), "'few' is neither a number of exits nor own"),
        (("--exits", "own", "--branch", "linear"), "gets no others, and no branches"),
        (("--exits", "own", "--at", "blocks.0"), "gets no others, and no branches"),
    ],
)
def test_train_wrong_exits_are_refused(cli: Cli, tmp_path: Path, options: tuple[str, ...], reason: str) -> None:
    command = ("train", REFERENCE, "--epochs", 0, "--input", "1x1x8x8", *options, "-o", tmp_path / "m.pt")
    result = cli(*command)
    assert (result.code, reason in result.stderr) == (2, True), result
