"""`train --epochs 0` and `inspect` on model references."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from eetool.model.backbones.registry import build_backbone
from eetool.model.checkpoint import load_checkpoint


def test_train_reference_without_data_writes_model(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    options = ("--epochs", 0, "--input", "1x3x32x32", "--classes", 10, "--exits", 2)
    result = cli("train", "mobilenetv3-small", *options, "-o", tmp_path / "m.pt", "--json")
    assert result.code == 0, result
    taps = [e["tap"] for e in result.document["exits"]]
    assert load_checkpoint(tmp_path / "m.pt").record.spec.taps == tuple(taps[:-1])
    shown = cli("inspect", tmp_path / "m.pt", "--json").document
    assert {tap["name"] for tap in shown["taps"]} >= set(taps[:-1])


def test_train_weights_file_sets_weights(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    state = build_backbone("resnet8", (1, 3, 32, 32), 10).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    options = ("--weights", tmp_path / "w.safetensors", "--epochs", 0, "--classes", 10)
    result = cli("train", "resnet8", *options, "-o", tmp_path / "m.pt")
    assert result.code == 0, result
    stored = load_checkpoint(tmp_path / "m.pt").state
    assert all(stored[f"backbone.{name}"].equal(tensor) for name, tensor in state.items())
    assert cli("train", "resnet8", *options[:-1], 7, "-o", tmp_path / "n.pt").code == 3
    assert not (tmp_path / "n.pt").exists()


def test_inspect_reference_lists_taps(cli) -> None:  # type: ignore[no-untyped-def]
    document = cli("inspect", "vit-tiny", "--input", "1x3x16x16", "--json").document
    assert [tap["name"] for tap in document["taps"]] == [f"blocks.{i}" for i in range(12)]
    assert document["taps"][0]["shape"] == [1, 17, 192]
    assert {tap["crossing"] for tap in document["taps"]} == {1}


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("resnet8",), 2, "there is no --data to train on"),
        (("no-such-net", "--epochs", 0), 2, "unknown model"),
        (("no.module:make", "--epochs", 0), 2, "there is no module 'no'"),
    ],
)
def test_wrong_references_are_refused(cli, tmp_path: Path, arguments, code: int, reason: str) -> None:  # type: ignore[no-untyped-def]
    result = cli("train", *arguments, "-o", tmp_path / "m.pt")
    assert (result.code, reason in result.stderr) == (code, True), result
