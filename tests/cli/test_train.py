"""`eetool train` as a user meets it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from eetool.model.checkpoint import load_checkpoint
from eetool.train import pipeline
from eetool.tune.exit_costs import model_macs
from eetool_runtime.manifest import Preprocess

WITHOUT_DATA = ("--epochs", 0, "--input", "1x3x16x16", "--classes", 5)
# Those of the `trained` fixture, so that the same bytes must come out.
AS_TRAINED = ("--data", "digits", "--exits", 2, "--branch", "linear", "--epochs", 4, "--batch-size", 64)


def test_train_without_data_attaches_exits(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    document = cli("train", "resnet8", *WITHOUT_DATA, "--exits", 1, "-o", path, "--json").document
    costs = model_macs(load_checkpoint(path).record.spec)
    assert (document["command"], document["schema"], document["ok"]) == ("train", "train/1", True)
    assert document["output"] == str(path)
    assert [e["tap"] for e in document["exits"]] == ["layer1.0", None]
    assert [e["macs"] for e in document["exits"]] == costs.leaving((0.5,)).tolist()
    assert [e["accuracy"] for e in document["exits"]] == [None, None]


def test_train_default_output_is_model_pt(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("train", "resnet8", *WITHOUT_DATA, "--at", "layer3.0,layer1.0")
    assert result.code == 0, result
    assert result.stdout.splitlines()[-1] == "wrote model.pt"
    assert load_checkpoint(Path("model.pt")).record.spec.taps == ("layer1.0", "layer3.0")


def test_train_zero_epochs_takes_shape_of_data(cli: Any, tmp_path: Path) -> None:
    result = cli("train", "resnet8", "--data", "digits", "--epochs", 0, "--exits", 0, "-o", tmp_path / "m.pt")
    assert result.code == 0, result
    spec = load_checkpoint(tmp_path / "m.pt").record.spec
    assert (spec.inputs[0].shape, len(spec.labels), spec.taps) == (("batch", 1, 32, 32), 10, ())


def test_train_weights_keep_normalisation_and_hold_out(cli: Any, tmp_path: Path) -> None:
    options = ("--data", "digits", "--epochs", 0, "--exits", 1, "--normalise", "0.25/0.5")
    assert cli("train", "resnet8", *options, "-o", tmp_path / "m.pt").code == 0
    record = load_checkpoint(tmp_path / "m.pt").record
    assert record.spec.inputs[0].preprocess == Preprocess(1 / 255, (0.25,), (0.5,))
    assert record.data is not None
    assert record.data.splits["train"].n == 879


def test_train_new_classifier_for_other_classes_is_fitted_and_said(cli: Any, tmp_path: Path) -> None:
    start, model = tmp_path / "start.pt", tmp_path / "m.pt"
    options = ("--input", "1x1x32x32", "--classes", 5, "--exits", 0, "--epochs", 0)
    assert cli("train", "resnet8", *options, "-o", start).code == 0
    arguments = ("train", "resnet8", "--data", "digits", "--weights", start, "--exits", 0, "--epochs", 0, "-o", model)
    refused = cli(*arguments)
    assert refused.code == 3
    assert "made for 5 classes: --new-classifier fits another one" in refused.stderr
    output = cli(*arguments, "--new-classifier")
    assert output.code == 0, output
    assert "new classifier linear of 10 classes: logistic regression on 879 training examples" in output.stderr
    assert load_checkpoint(model).record.training.new_classifier


def test_train_augmentation_is_shown_and_recorded(cli: Any, tmp_path: Path) -> None:
    options = ("--augment", "strong", "--mirror", "--epochs", 0, "--exits", 0)
    shown = ("--show-augmented", tmp_path / "a.png")
    assert cli("train", "resnet8", "--data", "digits", *options, *shown, "-o", tmp_path / "m.pt").code == 0
    training = load_checkpoint(tmp_path / "m.pt").record.training
    assert (training.augment, training.mirror) == ("strong", True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_train_branch_per_exit_is_used(cli: Any, tmp_path: Path) -> None:
    branches = ("--branch", "max2,conv3-8", "--branch", "linear")
    assert cli("train", "resnet8", *WITHOUT_DATA, *branches, "-o", tmp_path / "m.pt").code == 0
    assert load_checkpoint(tmp_path / "m.pt").record.spec.branches == ("max2,conv3-8", "linear")


def test_train_tap_layout_is_asked_for_recorded_and_shown(cli: Any, tmp_path: Path) -> None:
    unclear, path = "tests.helpers.layout_networks:unclear", tmp_path / "m.pt"
    options = ("train", unclear, "--epochs", 0, "--at", "0", "-o", path)
    refused = cli(*options)
    assert refused.code == 2
    assert "Give --tap-layout NCL or NLC" in refused.stderr
    assert cli(*options, "--tap-layout", "NCL").code == 0
    assert load_checkpoint(path, [unclear]).record.spec.layouts == ("NCL",)
    taps = cli("inspect", path, "--model", unclear, "--json").document["taps"]
    assert {tap["name"]: tap["layout"] for tap in taps} == {"0": "NCL", "3": "NC"}


def test_train_same_seed_writes_same_bytes(cli: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert cli("train", "resnet8", *WITHOUT_DATA, "--seed", seed, "-o", tmp_path / name).code == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_train_resumed_after_ctrl_c_writes_same_bytes(cli: Any, names: Any, trained: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "model.pt", tmp_path / "model.pt.resume"
    arguments = ["train", "resnet8", *map(str, AS_TRAINED), "-o", str(path)]
    process = subprocess.Popen([sys.executable, "-m", "eetool", *arguments], stderr=subprocess.PIPE, text=True)
    while not state.exists():
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, result = process.communicate()
    assert process.returncode == 130, result
    assert "Traceback" not in result
    assert "--resume continues after the last whole epoch" in result
    assert names(tmp_path) == ["model.pt.resume"]

    again = cli(*arguments)
    assert again.code == 2
    assert "holds an interrupted run" in again.stderr

    resumed = cli(*arguments, "--resume")
    assert resumed.code == 0, resumed
    assert names(tmp_path) == ["model.pt"]
    assert path.read_bytes() == trained.read_bytes()


def test_train_divergence_is_reported(refused: Any, names: Any, tmp_path: Path) -> None:
    arguments = ("train", "resnet8", *AS_TRAINED, "--learning-rate", "1e30", "-o", tmp_path / "m.pt")
    refused(1, "the loss became nan in epoch 1, step", *arguments)
    assert names(tmp_path) == []


def test_train_threads_sets_torch_threads(cli: Any, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert cli("train", "resnet8", *WITHOUT_DATA, "--threads", 2, "-o", tmp_path / "m.pt").code == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("unknown model 'alexnet'", ["alexnet", *WITHOUT_DATA]),
        ("there is no resnet9", ["resnet9", *WITHOUT_DATA]),
        ("unknown data source 'mnist'", ["resnet8", "--data", "mnist"]),
        ("there is no --data to train on", ["resnet8"]),
        ("there is no --data to train on", ["resnet8", "--epochs", 1, "--input", "1x3x16x16", "--classes", 3]),
        ("unknown tap 'layer9'", ["resnet8", *WITHOUT_DATA, "--at", "layer9"]),
        ("named twice", ["resnet8", *WITHOUT_DATA, "--at", "layer1,layer1"]),
        ("contradicts --at", ["resnet8", *WITHOUT_DATA, "--at", "layer1", "--exits", 2]),
        ("99 exits asked for", ["resnet8", *WITHOUT_DATA, "--exits", 99]),
        ("unknown branch layer 'conv9'", ["resnet8", *WITHOUT_DATA, "--branch", "conv9"]),
        ("takes images", ["resnet8", "--epochs", 0, "--classes", 3, "--input", "1x3"]),
        ("is not a shape", ["resnet8", "--epochs", 0, "--classes", 3, "--input", "1x3x0x4"]),
        ("is not a shape", ["resnet8", "--epochs", 0, "--classes", 3, "--input", "3,32,32"]),
        ("is not in the range", ["resnet8", *WITHOUT_DATA, "--classes", 1]),
        ("is not in the range", ["resnet8", *WITHOUT_DATA, "--seed", 2**64]),
        ("is not in the range", ["resnet8", *WITHOUT_DATA, "--learning-rate", 0]),
        ("is not a finite number", ["resnet8", *WITHOUT_DATA, "--learning-rate", "nan"]),
        ("nothing to resume", ["resnet8", "--data", "digits", "--resume"]),
        ("needs the path", ["resnet8", "--data", "folder"]),
        ("has no use for --teacher", ["resnet8", "--data", "digits", "--teacher", "/dev/null"]),
        ("--teacher-views without", ["resnet8", "--data", "digits", "--recipe", "distill", "--teacher-views", 2]),
        ("--new-classifier without --weights", ["resnet8", "--data", "digits", "--new-classifier"]),
        ("needs --data", ["resnet8", *WITHOUT_DATA, "--new-classifier", "--weights", "/dev/null"]),
        ("2 exit weights for 3 exits", ["resnet8", "--data", "digits", "--exit-weights", "1,1"]),
        ("are not numbers", ["resnet8", "--data", "digits", "--exit-weights", "1,x"]),
        ("are not numbers", ["resnet8", "--data", "digits", "--exit-weights", "1,-1,1"]),
        ("no mean and deviation", ["resnet8", "--data", "digits", "--normalise", "0.5"]),
        ("each of 1 channels", ["resnet8", "--data", "digits", "--normalise", "imagenet"]),
        ("2 branches for 3 exits", ["resnet20", *WITHOUT_DATA, "--exits", 3, "--branch", "linear", "--branch", "max2"]),
        ("2 layouts for 3 exits", ["resnet20", *WITHOUT_DATA, "--exits", 3, *("--tap-layout", "NCHW") * 2]),
        ("layout NCL does not fit tap", ["resnet8", *WITHOUT_DATA, "--tap-layout", "NCL"]),
        ("unknown layout 'HWC'", ["resnet8", *WITHOUT_DATA, "--tap-layout", "HWC"]),
        ("--input contradicts digits", ["resnet8", "--data", "digits", "--input", "1x3x32x32"]),
        ("--classes contradicts digits", ["resnet8", "--data", "digits", "--classes", 9]),
        ("does not end in .png", ["resnet8", "--data", "digits", "--show-augmented", "a.jpg"]),
        ("--show-augmented without --data", ["resnet8", *WITHOUT_DATA, "--show-augmented", "a.png"]),
        ("no test set of its own", ["resnet8", "--data", "digits", "--hold-out", "test"]),
    ],
)
def test_train_usage_errors_write_nothing(
    refused: Any, names: Any, tmp_path: Path, words: str, arguments: list[object]
) -> None:
    refused(2, words, "train", *arguments, "-o", tmp_path / "model.pt")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("exists already", "old"),
        ("is not a folder", "nowhere/model.pt"),
        ("is not a folder", "old/model.pt"),
        ("cannot be written to", "/proc/model.pt"),
        ("is not a plain file", "."),
    ],
)
def test_train_unwritable_output_is_refused_first(refused: Any, tmp_path: Path, words: str, place: str) -> None:
    (tmp_path / "old").write_text("precious")
    force = ["--force"] if place == "." else []
    refused(2, words, "train", "resnet8", *WITHOUT_DATA, "-o", tmp_path / place, *force)
    assert (tmp_path / "old").read_text() == "precious"


def test_train_force_replaces_model(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_text("old")
    assert cli("train", "resnet8", *WITHOUT_DATA, "--force", "-o", tmp_path / "m.pt").code == 0
    assert load_checkpoint(tmp_path / "m.pt").record.spec.backbone == "resnet8"


def test_train_output_that_appears_during_the_work_is_kept(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, attach_exits = tmp_path / "m.pt", pipeline.attach_exits

    def slowly(*arguments: Any) -> Any:
        path.write_text("theirs")
        return attach_exits(*arguments)

    monkeypatch.setattr(pipeline, "attach_exits", slowly)
    result = cli("train", "resnet8", *WITHOUT_DATA, "-o", path)
    assert (result.code, "m.pt exists already" in result.stderr) == (2, True), result
    assert path.read_text() == "theirs"
