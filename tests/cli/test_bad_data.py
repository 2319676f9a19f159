"""Unusable data and checkpoints are refused with their place and a hint, and nothing is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eetool.model.checkpoint import load_checkpoint

QUICK = ("--epochs", 1, "--exits", 1, "--branch", "linear", "--batch-size", 64)


def images(path: Path, side: int = 8, n: int = 200, **changes: Any) -> str:
    """Images of two classes, one of them brighter."""
    labels = np.arange(n) % 2
    pixels = np.random.default_rng(0).integers(0, 128, (n, 1, side, side), np.uint8) + 100 * labels[:, None, None, None]
    np.savez(path, **{"images": pixels.astype(np.uint8), "labels": labels, **changes})
    return f"npz:{path}"


@pytest.fixture
def model(cli: Any, tmp_path: Path) -> Path:
    path = tmp_path / "m.pt"
    assert cli("train", "resnet8", "--data", images(tmp_path / "mine.npz"), *QUICK, "-o", path).code == 0
    return path


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (
            "label 7 of example 3 is out of range",
            {"labels": np.where(np.arange(200) == 3, 7, np.arange(200) % 2), "classes": ["0", "1"]},
        ),
        ("no training example is of class '1'", {"labels": np.zeros(200, int), "classes": ["0", "1"]}),
        ("would be empty or without a class", {"n": 6}),
        ("would be empty or without a class", {"labels": np.minimum(np.arange(200), 1)}),
        ("holds no examples", {"n": 0}),
        ("label 500000000 of example 3 is out of range", {"labels": np.where(np.arange(200) == 3, 5 * 10**8, 0)}),
        (r"the name of class 1, 'b\x1b[2J', fits no bundle", {"classes": ["a", "b\x1b[2J"]}),
        ("the name of class 0, '', fits no bundle", {"classes": ["", "b"]}),
    ],
)
def test_train_unusable_labels_are_refused(
    refused: Any, names: Any, tmp_path: Path, words: str, changes: dict[str, Any]
) -> None:
    data = images(tmp_path / "mine.npz", **changes)
    refused(3, words, "train", "resnet8", "--data", data, "-o", tmp_path / "m.pt")
    assert names(tmp_path) == ["mine.npz"]


def test_train_late_divergence_keeps_last_whole_epoch(
    refused: Any, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eetool.train import training_loop

    data, path = images(tmp_path / "mine.npz"), tmp_path / "m.pt"
    schedule = training_loop.one_cycle
    # The schedule breaks in the second of two epochs.
    monkeypatch.setattr(training_loop, "one_cycle", lambda at, warm_up: 1e30 if at >= 0.5 else schedule(at, warm_up))
    options = ("--data", data, "--epochs", 2, "--exits", 0, "--batch-size", 32)
    kept = tmp_path / "m.pt.resume"
    refused(1, "in epoch 2, step 2", "train", "resnet8", *options, "--force", "-o", path)
    resumed = cli("train", "resnet8", *options, "--resume", "-o", path)
    assert f"--weights {kept}" in resumed.stderr
    assert (kept.exists(), path.exists()) == (True, False)

    monkeypatch.undo()
    result = cli("train", "resnet8", *options, "--weights", kept, "--learning-rate", 0.01, "--force", "-o", path)
    assert result.code == 0, result
    assert load_checkpoint(path).record.training.learning_rate == 0.01
    assert not kept.exists()


@pytest.mark.parametrize("command", ["tune", "bench"])
def test_tune_and_bench_images_of_another_size_are_refused(
    refused: Any, cli: Any, model: Path, tmp_path: Path, command: str
) -> None:
    what = model
    if command == "bench":
        what = tmp_path / "m.eebundle"
        assert cli("export", model, "--no-simplify", "-o", what).code == 0
    larger = images(tmp_path / "mine.npz", side=12)  # the same labels, so the same splits
    out = ("-o", tmp_path / "out.pt") if command == "tune" else ()
    refused(3, "takes images of 1x8x8, and the data has uint8 of 1x12x12", command, what, "--data", larger, *out)


def test_train_weights_of_another_architecture_are_refused(
    refused: Any, names: Any, model: Path, tmp_path: Path
) -> None:
    data = images(tmp_path / "mine.npz")
    refused(3, "missing: layer1.1.conv1.weight", "train", "resnet20", "--data", data, "--weights", model, "-o", "no.pt")
    options = ("--data", images(tmp_path / "three.npz", labels=np.arange(200) % 3), "--weights", model)
    refused(3, "of another shape: linear.weight", "train", "resnet8", *options, "-o", tmp_path / "no.pt")
    assert names(tmp_path) == ["m.pt", "mine.npz", "three.npz"]


def test_load_checkpoint_tensors_of_another_architecture_are_refused(refused: Any, model: Path, tmp_path: Path) -> None:
    stored = torch.load(model, weights_only=True)
    other = tmp_path / "other.pt"
    torch.save({**stored, "record": stored["record"].replace('"resnet8"', '"resnet20"')}, other)
    refused(3, "its tensors do not fit resnet20", "tune", other, "--data", images(tmp_path / "mine.npz"))
    refused(3, "its tensors do not fit resnet20", "export", other, "-o", tmp_path / "no.eebundle")


def test_train_resume_damaged_state_is_refused(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "m.pt.resume").write_bytes(b"")
    data = images(tmp_path / "mine.npz")
    refused(3, "damaged", "train", "resnet8", "--data", data, *QUICK, "--resume", "-o", tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"labels": ["0", "1"]', r'"labels": ["0", "\u001b[2J"]', r"'\x1b[2J' is no label"),
        ('"labels": ["0", "1"]', r'"labels": ["0", "\ud800"]', r"'\ud800' is no label"),
        ('"labels": ["0", "1"]', '"labels": ["0", ""]', "'' is no label"),
        ('"source": "npz:mine.npz"', f'"source": "{"x" * 300}"', "(300 characters) is no label"),
        ('"train":', r'"\u0007":', r"'\x07' is no label"),
    ],
)
def test_load_checkpoint_invalid_names_are_refused(
    refused: Any, model: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    stored = torch.load(model, weights_only=True)
    other = tmp_path / "other.pt"
    assert old in stored["record"]
    torch.save({**stored, "record": stored["record"].replace(old, new)}, other)
    refused(3, words, "tune", other, "--data", f"npz:{tmp_path / 'mine.npz'}")


def test_train_invalid_input_name_is_refused(refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oddly_named.py").write_text(
        "import torch\n"
        "def net():\n"
        "    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.Linear(8, 2))\n"
        "    return layers, {'my input': torch.zeros(1, 1, 8, 8)}\n"
    )
    data = images(tmp_path / "mine.npz")
    refused(2, "'my input' is no name", "train", "oddly_named:net", "--data", data, *QUICK, "-o", tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("code", "words", "options"),
    [
        (5, "there is no torch device 'cuda:99' here", ("--torch-device", "cuda:99")),
        (2, "do not train in fp16", ("--mixed-precision", "fp16")),
        (2, "needs a trained backbone", ("--recipe", "frozen")),
        (2, "and there is none", ("--recipe", "frozen", "--exits", 0)),
    ],
)
def test_train_options_that_need_no_data_are_checked_before_it_is_read(
    refused: Any, tmp_path: Path, code: int, words: str, options: tuple[Any, ...]
) -> None:
    (tmp_path / "broken.npz").write_bytes(b"nonsense")
    refused(
        code, words, "train", "resnet8", "--data", f"npz:{tmp_path / 'broken.npz'}", *options, "-o", tmp_path / "m.pt"
    )
