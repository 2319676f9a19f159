"""Training of networks with exits of their own, and of a chosen output."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.model.checkpoint import Checkpoint, save_checkpoint
from eetool.model.references.output_choice import OutputChoice
from eetool.model.spec import LossOptions, TrainingSettings
from eetool.progress import Silent
from eetool.train.exit_answers import exit_accuracies
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import train_model
from tests.helpers import multi_exit_networks as networks

OWN = ExitPlan(0, outputs=OutputChoice(own=True))
SETTINGS = TrainingSettings("joint", 15, 0, 16, 0.1)


class Notes(Silent):
    """Keeps the lines of the log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def patterns() -> Source:
    """A pattern of 8×8 numbers for each class, with noise."""
    inputs, labels = networks.patterns()
    return Source("patterns", inputs, labels, tuple(map(str, range(networks.CLASSES))), False)


@pytest.fixture(scope="module")
def trained(patterns: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, list[str]]:
    """The network whose deepest exit comes first, and the notes of its training."""
    notes = Notes()
    state = tmp_path_factory.mktemp("own") / "state"
    made = train_model(networks.reference("shared"), patterns, OWN, SETTINGS, state, progress=notes)
    return made, notes.lines


def test_train_model_own_exits_learn_in_order_and_the_order_is_reported(
    trained: tuple[Checkpoint, list[str]], patterns: Source
) -> None:
    checkpoint, notes = trained
    assert checkpoint.record.spec.outputs == ("2", "1", "0")
    assert "own exits from shallow to deep: 2, 1, 0; not the order in which they are returned" in notes
    accuracies, n = exit_accuracies(checkpoint, patterns)
    assert (len(accuracies), n) == (3, 43)
    assert accuracies[0] < accuracies[-1]
    assert accuracies[-1] > 0.6, accuracies


@pytest.mark.parametrize("recipe", ["distill", "frozen"])
def test_train_model_recipes_train_own_exits(patterns: Source, tmp_path: Path, recipe: str) -> None:
    name, state = networks.reference("branchy"), tmp_path / "state"
    first = train_model(name, patterns, OWN, replace(SETTINGS, epochs=0), state)
    save_checkpoint(tmp_path / "first.pt", first)
    settings = replace(SETTINGS, recipe=recipe, epochs=1)
    made = train_model(name, patterns, OWN, settings, state, weights=tmp_path / "first.pt")
    changed = {n for n, x in made.state.items() if not torch.equal(x, first.state[n])}
    heads = {n for n in made.state if n.startswith(("backbone.heads.0.", "backbone.heads.1."))}
    assert changed == (heads if recipe == "frozen" else set(made.state))


def test_train_model_named_output_is_trained_as_the_final_exit(patterns: Source, tmp_path: Path) -> None:
    """Without a name the first output would be taken: an embedding, which learns nothing."""
    name = networks.reference("embedding first")
    plan = ExitPlan(1, "linear", outputs=OutputChoice(("1",)))
    accuracies, _ = exit_accuracies(train_model(name, patterns, plan, SETTINGS, tmp_path / "state"), patterns)
    assert accuracies[-1] > 0.6, accuracies
    with pytest.raises(UsageError, match="2 outputs that can be the class logits"):
        train_model(name, patterns, ExitPlan(1), SETTINGS, tmp_path / "state")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (replace(SETTINGS, recipe="confidence"), "own exits have no confidence heads"),
        (
            replace(SETTINGS, loss=LossOptions(gradient_scaling=True)),
            "gradient-scaling needs exits that are attached",
        ),
        (replace(SETTINGS, loss=LossOptions(exit_weights=(1.0,))), "1 exit weights for 3 exits"),
    ],
)
def test_train_model_settings_without_meaning_for_own_exits_are_refused(
    patterns: Source, tmp_path: Path, settings: TrainingSettings, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        train_model(networks.reference("branchy"), patterns, OWN, settings, tmp_path / "state")
