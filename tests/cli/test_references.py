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


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (
            "log_softmax_over_rows",
            "the final exit answers an input differently alone and in a batch: it begins at log_softmax in the "
            "network's own forward (LogSoftmaxOverRows), mixing_networks.py:",
        ),
        (
            "batch_statistics",
            "exit 0 answers an input differently alone and in a batch: it begins at native_batch_norm in stages.0.1 "
            "(BatchNorm2d), mixing_networks.py:",
        ),
        ("noisy", "exit 0 answers the same input differently again: it begins at bernoulli in stages.1 (Apply), "),
    ],
)
def test_train_answers_that_depend_on_more_than_the_input_are_refused(  # type: ignore[no-untyped-def]
    cli, tmp_path: Path, factory: str, reason: str
) -> None:
    taps = "stages.0" if factory != "noisy" else "stages.1"
    options = ("--epochs", 0, "--input", "1x1x8x8") if factory == "noisy" else ("--data", "digits")
    model = f"tests.helpers.mixing_networks:{factory}"
    result = cli("train", model, "--at", taps, *options, "-o", tmp_path / "m.pt")
    assert result.code == 2, result
    assert f"error: {model}: {reason}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_train_trial_export_refuses_before_training_and_can_be_left_out(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    command = ("train", "tests.helpers.mixing_networks:antialiased", "--epochs", 0, "--exits", 0, "--input", "1x1x8x8")
    result = cli(*command, "-o", tmp_path / "m.pt")
    assert result.code == 4, result
    assert "upsample_bilinear2d_aa in stages.1 (Apply), mixing_networks.py:" in result.stderr
    assert "--trial-export none trains without" in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert cli(*command, "--trial-export", "none", "-o", tmp_path / "m.pt").code == 0
    result = cli(*command, "--trial-export", "none", "--trial-export", "onnx", "-o", tmp_path / "n.pt")
    assert (result.code, "--trial-export none contradicts the others" in result.stderr) == (2, True), result
