"""Learning curves: figures of every exit, the epoch that is kept, and what an interruption keeps of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from eetool.data.augmentation import Augmentation
from eetool.errors import ArtefactError, UsageError
from eetool.model.checkpoint import load_tensors, serialise
from eetool.model.early_exit import EarlyExitNet
from eetool.model.history import EpochFigures, TrainingHistory, invalid_history
from eetool.model.spec import TrainingSettings
from eetool.progress import Silent
from eetool.train.losses import FROZEN, default_learning_rate
from eetool.train.training_examples import TrainingExamples, ValidationExamples
from eetool.train.training_loop import RESUME_FORMAT, run_training

SETTINGS = TrainingSettings("joint", epochs=4, seed=1, batch_size=16, learning_rate=0.05, keep="best")
X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
EXAMPLES = TrainingExamples(X, (X[:, 0] > 0).long(), None, None)
# Of the other class at half of the places: learning makes the accuracy fall from what chance gives.
SPOILT = ValidationExamples("temperature", replace(EXAMPLES, labels=1 - EXAMPLES.labels))
SOUND = ValidationExamples("temperature", EXAMPLES)


def network(seed: int = 0) -> EarlyExitNet:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return EarlyExitNet(backbone, {"1": nn.Linear(8, 2)})


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


Listener = Callable[[EpochFigures, float], None]


def stop_after(epochs: int) -> Listener:
    def on_epoch(figures: EpochFigures, seconds: float) -> None:
        if figures.epoch > epochs:
            raise KeyboardInterrupt

    return on_epoch


def train(
    state: Path,
    validation: ValidationExamples | None,
    settings: TrainingSettings = SETTINGS,
    resume: bool = False,
    on_epoch: Listener | None = None,
) -> tuple[EarlyExitNet, TrainingHistory]:
    net = network()
    history = run_training(net, EXAMPLES, settings, state, resume, validation=validation, on_epoch=on_epoch)
    assert history is not None
    return net, history


def accuracies(net: EarlyExitNet, validation: ValidationExamples) -> list[float]:
    with torch.no_grad():
        logits = net(validation.examples.images)
    return [float((x.argmax(1) == validation.examples.labels).float().mean()) for x in logits]


def test_run_training_history_holds_figures_of_the_weights_it_leaves(tmp_path: Path) -> None:
    net, history = train(tmp_path / "s", SOUND)
    assert (history.split, history.examples, history.kept_epoch) == ("temperature", 64, 4)
    assert [figures.epoch for figures in history.epochs] == [1, 2, 3, 4]
    last = history.epochs[-1]
    assert last.validation_accuracy == pytest.approx(accuracies(net, SOUND), abs=1e-6)
    with torch.no_grad():
        losses = [float(nn.functional.cross_entropy(x, EXAMPLES.labels)) for x in net(X)]
    assert last.validation_loss == pytest.approx(losses, abs=1e-5)
    assert last.loss == pytest.approx(sum(x or 0 for x in last.training_loss), abs=1e-5), "joint: the sum over exits"
    assert last.training_accuracy[0] is not None
    assert last.training_accuracy[0] > 0.6


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_run_training_best_epoch_is_kept(tmp_path: Path, average: float) -> None:
    settings = replace(SETTINGS, average=average)
    net, history = train(tmp_path / "s", SPOILT, settings)
    means = [sum(x or 0 for x in figures.validation_accuracy) for figures in history.epochs]
    assert history.kept_epoch == means.index(max(means)) + 1 < 4
    kept = history.epochs[history.kept_epoch - 1].validation_accuracy
    assert accuracies(net, SPOILT) == pytest.approx(kept, abs=1e-6)

    last, curve = train(tmp_path / "s", SPOILT, replace(settings, keep="last"))
    assert (curve.kept_epoch, curve.epochs) == (4, history.epochs)
    assert accuracies(last, SPOILT) == pytest.approx(curve.epochs[-1].validation_accuracy, abs=1e-6)
    assert not torch.equal(last.backbone[0].weight, net.backbone[0].weight)


def test_run_training_given_weights_that_training_spoils_are_kept_or_it_is_noted(tmp_path: Path) -> None:
    kept, start, notes = network(), network(), Notes()
    run = partial(run_training, examples=EXAMPLES, state_file=tmp_path / "s", resume=False, validation=SPOILT)
    history = run(kept, settings=SETTINGS, has_weights=True, progress=notes)
    assert history is not None
    assert (history.kept_epoch, notes.lines) == (0, [])
    assert all(torch.equal(x, start.state_dict()[name]) for name, x in kept.state_dict().items())
    assert invalid_history(history, 2) is None

    run(network(), settings=replace(SETTINGS, keep="last"), has_weights=True, progress=notes)
    assert "of 64 validation examples, and was on" in "".join(notes.lines)
    run(network(), settings=replace(SETTINGS, keep="last"), progress=notes)
    assert len(notes.lines) == 1, "fresh weights have nothing to lose"


def test_default_learning_rate_given_weights_is_small_where_the_backbone_learns() -> None:
    assert [default_learning_rate("joint", True), default_learning_rate("distill", True)] == [0.01, 0.01]
    assert (
        {default_learning_rate(recipe, True) for recipe in FROZEN} == {default_learning_rate("joint", False)} == {0.1}
    )


def test_run_training_validation_does_not_change_the_weights(tmp_path: Path) -> None:
    settings = replace(SETTINGS, keep="last", average=0.9)
    with_curve, alone = (train(tmp_path / "s", v, settings) for v in (SOUND, None))
    assert all(
        torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n, _ in (with_curve, alone)), strict=True)
    )
    assert (alone[1].split, alone[1].examples, alone[1].epochs[0].validation_accuracy) == (None, 0, ())


@pytest.mark.parametrize("validation", [SOUND, SPOILT])
@pytest.mark.parametrize("epochs", [1, 3])
def test_run_training_resumed_run_has_the_same_curve_and_weights(
    tmp_path: Path, validation: ValidationExamples, epochs: int
) -> None:
    whole, history = train(tmp_path / "a", validation, replace(SETTINGS, average=0.5))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", validation, replace(SETTINGS, average=0.5), on_epoch=stop_after(epochs))
    again, resumed = train(tmp_path / "b", validation, replace(SETTINGS, average=0.5), resume=True)
    assert resumed == history
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


def test_run_training_damaged_curve_of_an_interrupted_run_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        train(state, SPOILT, on_epoch=stop_after(3))
    stored = load_tensors(state, RESUME_FORMAT)
    weights = stored["curve"]["weights"]
    assert weights, "an earlier epoch is kept"
    for damaged, error in (
        ({**stored, "curve": {**stored["curve"], "epochs": "[1]"}}, UsageError),
        ({**stored, "curve": {**stored["curve"], "weights": dict(list(weights.items())[1:])}}, UsageError),
        (
            {**stored, "curve": {**stored["curve"], "weights": {k: v * torch.nan for k, v in weights.items()}}},
            ArtefactError,
        ),
    ):
        state.write_bytes(serialise(damaged))
        with pytest.raises(error):
            train(state, SPOILT, resume=True)


def test_run_training_mixed_examples_are_learned(tmp_path: Path) -> None:
    net = network()
    mixed = replace(EXAMPLES, augmentation=Augmentation(0, mixup=0.2))
    history = run_training(net, mixed, replace(SETTINGS, epochs=8), tmp_path / "s", False, validation=SOUND)
    assert history is not None
    last, first = history.epochs[-1], history.epochs[0]
    assert min(accuracies(net, SOUND)) > 0.8
    assert last.loss is not None
    assert first.loss is not None
    assert last.loss < first.loss
