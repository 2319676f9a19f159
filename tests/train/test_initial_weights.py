"""Weights that a training begins with: another number of classes, published names and normalisations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import eetool
from eetool.data.image_form import DataChoice
from eetool.data.source import Source
from eetool.errors import ArtefactError, UsageError
from eetool.model.backbones.published_names import published_names
from eetool.model.backbones.registry import build_backbone
from eetool.model.checkpoint import Checkpoint, save_checkpoint
from eetool.model.spec import TrainingSettings
from eetool.train.exit_plan import ExitPlan
from eetool.train.initial_weights import InitialWeights, check_initial_weights
from eetool.train.pipeline import train_model
from tests.helpers.input_rows.row import Listener

CLASSES = ("dark", "light", "red")
START = TrainingSettings("joint", 0, seed=1, batch_size=16, learning_rate=0.05, new_classifier=True)


def photographs(count: int = 60) -> Source:
    """Return images of three classes, told apart by their colour."""
    labels = np.arange(3 * count) % 3
    rng = np.random.default_rng(0)
    colours = np.array([(60, 60, 60), (190, 190, 190), (190, 60, 60)])[labels]
    pixels = colours[:, :, None, None] + rng.integers(-40, 40, (3 * count, 3, 8, 8))
    return Source("photographs", pixels.astype(np.uint8), labels, CLASSES, None)


def write_photographs(folder: Path) -> Path:
    """Write them as files."""
    source = photographs(12)
    for index, (pixels, label) in enumerate(zip(source.inputs, source.labels, strict=True)):
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(place / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with random weights of a network of 20 classes."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(build_backbone("resnet8", (1, 3, 8, 8), 20).state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path / "cache"))


def train(folder: Path, weights: Path, settings: TrainingSettings = START, **others: Any) -> tuple[Checkpoint, str]:
    listener = Listener()
    plan = others.pop("plan", ExitPlan(1, "linear"))
    model = others.pop("model", "resnet8")
    arguments = (model, others.pop("source", photographs()), plan, settings, folder / "s", False, listener, weights)
    return train_model(*arguments, **others), "\n".join(listener.lines)


def test_train_model_new_classifier_alone_changes_of_the_weights(tmp_path: Path, weights: Path) -> None:
    checkpoint, lines = train(tmp_path, weights)
    stored = torch.load(weights, weights_only=True)
    for name, tensor in stored.items():
        own = checkpoint.state[f"backbone.{name}"]
        assert (own.shape != tensor.shape) if name.startswith("linear") else torch.equal(own, tensor)
    said = next(line for line in lines.splitlines() if line.startswith("new classifier linear of 3 classes"))
    right = float(said.partition("them; ")[2].partition(" %")[0])
    assert right > 90, "random features tell colours apart"
    assert checkpoint.record.training.new_classifier


def test_train_model_frozen_keeps_the_new_classifier(tmp_path: Path, weights: Path) -> None:
    started, _ = train(tmp_path, weights)
    frozen, _ = train(tmp_path, weights, replace(START, recipe="frozen", epochs=2))
    joint, _ = train(tmp_path, weights, replace(START, epochs=1))
    name = "backbone.linear.weight"
    assert torch.equal(frozen.state[name], started.state[name])
    assert not torch.equal(joint.state[name], started.state[name])


def test_train_model_new_classifier_without_exits(tmp_path: Path, weights: Path) -> None:
    checkpoint, _ = train(tmp_path, weights, plan=ExitPlan(0))
    assert checkpoint.record.spec.taps == ()


def test_train_model_other_classes_without_the_flag_has_one_hint(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ArtefactError, match="does not fit the backbone") as caught:
        train(tmp_path, weights, replace(START, new_classifier=False))
    assert (
        caught.value.hint == "It was made for 20 classes: --new-classifier fits another one on the training examples."
    )


def test_train_model_exits_of_a_file_are_not_those_of_other_classes(tmp_path: Path, weights: Path) -> None:
    first, _ = train(tmp_path, weights, replace(START, recipe="frozen", epochs=1))
    save_checkpoint(tmp_path / "m.pt", first)
    _, lines = train(tmp_path, tmp_path / "m.pt")
    assert "early exits begin with" not in lines


class Probabilities(nn.Module):
    """Does not end with a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3))).log_softmax(1)


def test_train_model_factory_without_last_linear_layer_is_refused(tmp_path: Path) -> None:
    torch.save(Probabilities().state_dict(), tmp_path / "w.pth")
    model = f"{__name__}:Probabilities"
    with pytest.raises(UsageError, match=f"the logits of {model} are not the output of a linear layer"):
        train(tmp_path, tmp_path / "w.pth", model=model, plan=ExitPlan(1, "linear", ("conv",)))


def test_train_model_published_normalisation_that_differs_is_warned_about(tmp_path: Path) -> None:
    net = build_backbone("mobilenetv1-0.25", (1, 3, 8, 8), 7)
    own = net.state_dict()
    names = published_names(net)[0].own
    torch.save({name: own[key] for name, key in names.items()}, tmp_path / "w.pth")
    model = "mobilenetv1-0.25"
    _, lines = train(tmp_path, tmp_path / "w.pth", model=model, plan=ExitPlan(0))
    assert "type --normalize 0.5019607843137255/0.5019607843137255" in lines
    rule = ((128 / 255,), (128 / 255,))
    right, lines = train(tmp_path, tmp_path / "w.pth", model=model, plan=ExitPlan(0), normalisation=rule)
    assert "warning" not in lines
    variances = [x for name, x in right.state.items() if name.endswith("norm.running_var")]
    assert all(not torch.allclose(x, torch.full_like(x, 0.999)) for x in variances), "statistics are those of images"


@pytest.mark.parametrize("classes", [3, 20])
def test_check_initial_weights_before_data_finds_names_and_sizes(tmp_path: Path, classes: int) -> None:
    data = DataChoice(f"folder:{write_photographs(tmp_path / 'photos')}@72")
    net = build_backbone("efficientnet-lite0", (1, 3, 72, 72), classes)
    own = net.state_dict()
    for names in published_names(net):
        path = tmp_path / "w.pth"
        torch.save({name: own[key] for name, key in names.own.items()}, path)
        chosen = InitialWeights(path, new_classifier=True)
        assert check_initial_weights("efficientnet-lite0", chosen, data) == names.normalisation
        with pytest.raises(ArtefactError) as caught:
            check_initial_weights("efficientnet-lite1", chosen, data)
        assert caught.value.hint == "It fits the built-in network efficientnet-lite0: give that as MODEL."
        if classes == 20:
            with pytest.raises(ArtefactError) as caught:
                check_initial_weights("efficientnet-lite0", InitialWeights(path), data)
            assert str(caught.value.hint).startswith("It was made for 20 classes: --new-classifier")


def test_check_initial_weights_unknown_shape_compares_names(weights: Path) -> None:
    assert check_initial_weights("resnet8", InitialWeights(weights), DataChoice("digits")) is None
    with pytest.raises(ArtefactError, match=r"missing: layer1\.1"):
        check_initial_weights("resnet20", InitialWeights(weights), DataChoice("digits"))
    assert check_initial_weights("mlp-8x2", InitialWeights(weights), DataChoice("npz:none.npz")) is None


def test_api_train_takes_the_normalisation_of_published_weights(tmp_path: Path) -> None:
    data = f"folder:{write_photographs(tmp_path / 'photos')}@32"
    net = build_backbone("efficientnet-lite0", (1, 3, 32, 32), 9)
    own = net.state_dict()
    torch.save({name: own[key] for name, key in published_names(net)[0].own.items()}, tmp_path / "w.pth")
    options: dict[str, Any] = {"exits": 0, "epochs": 0, "weights": tmp_path / "w.pth"}
    checkpoint = eetool.train("efficientnet-lite0", data, **options, new_classifier=True)
    preprocess = checkpoint.record.spec.inputs[0].preprocess
    assert preprocess is not None
    assert preprocess.mean == pytest.approx((127 / 255,) * 3)
    with pytest.raises(ArtefactError) as caught:
        eetool.train("efficientnet-lite0", data, **options)
    assert "new_classifier=True" in str(caught.value.hint)
