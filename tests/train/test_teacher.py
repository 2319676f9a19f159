"""Teachers: asked with their own normalisation, once per version of the data, and refused where they do not fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.model.checkpoint import save_checkpoint
from eetool.model.spec import TrainingSettings
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import train_model
from eetool.train.teacher import Teacher, load_teacher
from eetool_runtime.manifest import Input, Preprocess

SPEC = Input("input", "float32", ("batch", 1, 2, 2), Preprocess(1 / 255, (0.5,), (0.25,)))
SETTINGS = TrainingSettings("distill", epochs=2, seed=1, batch_size=73, learning_rate=0.05)


class Asked(nn.Module):
    """Answers with what it saw, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def forward(self, x: Tensor) -> Tensor:
        self.times += 1
        return x.flatten(1)[:, :2]  # (N, 1, 2, 2) -> (N, 2)


def test_teacher_images_are_normalised_by_its_own_statistics() -> None:
    images = torch.tensor([[[[0, 255], [0, 0]]]], dtype=torch.uint8)
    answers = Teacher(Asked(), SPEC, views=0, examples=1, classes=2)(images, torch.tensor([0]), 0)
    assert answers.tolist() == [[-2.0, 2.0]]


def test_teacher_with_views_computes_every_version_once() -> None:
    net = Asked()
    teacher = Teacher(net, SPEC, views=2, examples=4, classes=2)
    images = torch.randint(0, 255, (2, 4, 1, 2, 2), dtype=torch.uint8)
    seen = []
    for epoch in range(6):
        for chosen in torch.randperm(4).split(2):
            seen.append((epoch % 2, chosen, teacher(images[epoch % 2][chosen], chosen, epoch)))
    assert net.times <= 2 * 4, "every example at most once per version"
    for version, chosen, answers in seen:
        assert torch.allclose(answers, Teacher(Asked(), SPEC, 0, 4, 2)(images[version][chosen], chosen, 0))


@pytest.fixture(scope="module")
def teacher(little: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    settings = replace(SETTINGS, recipe="joint")
    save_checkpoint(folder / "teacher.pt", train_model("resnet8", little, ExitPlan(0), settings, folder / "state"))
    return folder / "teacher.pt"


def test_train_model_with_teacher_changes_weights_and_records_it(little: Source, teacher: Path, tmp_path: Path) -> None:
    taught, alone = (
        train_model("resnet8", little, ExitPlan(1, "linear"), SETTINGS, tmp_path / "s", teacher=who)
        for who in (teacher, None)
    )
    assert taught.record.training.loss.teacher is not None
    assert taught.record.training.loss.teacher.startswith("resnet8 ")
    assert not torch.equal(taught.state["exits.0.classifier.weight"], alone.state["exits.0.classifier.weight"])


def test_load_teacher_other_classes_or_inputs_raises_usage_error(teacher: Path) -> None:
    with pytest.raises(UsageError, match="has other classes"):
        load_teacher(teacher, ("a", "b"), (1, 8, 8))
    with pytest.raises(UsageError, match="does not read images of shape"):
        load_teacher(teacher, tuple("0123456789"), (3, 32, 32))
