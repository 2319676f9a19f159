"""Stored features of a frozen backbone: the same training as without them, and no stale or partial file is used."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eetool.data import rows
from eetool.data.augmentation import Augmentation
from eetool.data.source import Source
from eetool.errors import ArtefactError, OutputError, UsageError
from eetool.model.branches import Branch, BranchSpec
from eetool.model.checkpoint import save_checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import LossOptions, TrainingSettings
from eetool.progress import Advance
from eetool.train.exit_plan import ExitPlan
from eetool.train.feature_files import LIMIT, FeatureContext, PartShape, features_folder, make_room
from eetool.train.pipeline import attach_exits, train_model
from eetool.train.stored_training import AUTOMATIC, ExamplesView, choose_views, examples_digest
from eetool.train.tap_features import TapPart, backbone_digest, parts_of, tap_features
from eetool.train.training_loop import TrainingExamples

FROZEN = TrainingSettings("frozen", epochs=3, seed=5, batch_size=64, learning_rate=0.05)
TINY = "resnet-4x1-8x1"
PLAN = ExitPlan(1, ("max2,conv3-8",))


class Blocks(nn.Module):
    """Two blocks; `scale` is no weight, so only the computed features show it."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)])
        self.fc = nn.Linear(4, 2)
        self.scale, self.runs = scale, 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks[0](x) * self.scale
        x = self.blocks[1](x)
        self.runs += len(x)
        return self.fc(x.mean((2, 3)))


class Steps:
    """Names of the blocks of work, and lines."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.lines: list[str] = []

    @contextmanager
    def __call__(self, what: str, total: int) -> Iterator[Advance]:
        self.names.append(what)
        yield lambda steps: None

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="module")
def weights(little: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "w.pt"
    shape = (1, *little.inputs.shape[1:])
    save_checkpoint(path, attach_exits(TINY, shape, len(little.classes), ExitPlan(0), seed=3))
    return path


def network(scale: float = 1.0, tap: str = "blocks.0") -> EarlyExitNet:
    torch.manual_seed(0)
    backbone = Blocks(scale)
    return EarlyExitNet(backbone, {tap: Branch(BranchSpec.parse("max2,conv3-4"), (1, 4, 6, 6), 2)})


def view(count: int = 5) -> ExamplesView:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 6, 6), generator=generator, dtype=torch.uint8)
    statistics = torch.full((3,), 0.5)
    examples = TrainingExamples(images, torch.zeros(count, dtype=torch.int64), statistics, statistics, Augmentation())
    return ExamplesView(examples, examples_digest(examples), None)


def stored(net: EarlyExitNet, steps: Steps | None = None) -> list[np.ndarray]:
    rows = tap_features(net, parts_of(net), view(), backbone_digest(net), steps or Steps())
    return [part[np.arange(5)] for part in rows]


@pytest.mark.parametrize("recipe", ["frozen", "confidence"])
def test_train_model_stored_features_without_augmentation_give_the_same_weights(
    little: Source, weights: Path, tmp_path: Path, recipe: str
) -> None:
    values = little.inputs.astype(np.float32) / 128 - 1
    features = replace(little, name="values", inputs=values)
    settings = replace(FROZEN, recipe=recipe, loss=LossOptions(label_smoothing=0.1, survivors=0.5))
    steps = Steps()
    plain, kept = (
        train_model(TINY, features, PLAN, replace(settings, feature_views=views), tmp_path / "s", False, steps, weights)
        for views in (0, 1)
    )
    assert [line for line in steps.lines if "computed once" in line]
    assert (plain.record.training.feature_views, kept.record.training.feature_views) == (0, 1)
    for name, tensor in plain.state.items():  # float16 rounds the features
        torch.testing.assert_close(kept.state[name].float(), tensor.float(), rtol=0.02, atol=0.02)
    assert all(torch.equal(kept.state[n], plain.state[n]) for n in plain.state if n.startswith("backbone."))


def test_train_model_interrupted_with_stored_features_resumes_to_the_same_weights(
    little: Source, weights: Path, tmp_path: Path
) -> None:
    class Stop(Steps):
        @contextmanager
        def __call__(self, what: str, total: int) -> Iterator[Advance]:
            done = 0

            def advance(steps: int) -> None:
                nonlocal done
                done += steps
                if what == "training" and done >= total - FROZEN.batch_size:
                    raise KeyboardInterrupt

            yield advance

    settings = replace(FROZEN, feature_views=2)
    whole = train_model(TINY, little, PLAN, settings, tmp_path / "a", weights=weights)
    with pytest.raises(KeyboardInterrupt):
        train_model(TINY, little, PLAN, settings, tmp_path / "b", False, Stop(), weights)
    resumed = train_model(TINY, little, PLAN, settings, tmp_path / "b", True, weights=weights)
    assert all(torch.equal(whole.state[name], tensor) for name, tensor in resumed.state.items())


def test_tap_features_second_use_computes_nothing_new() -> None:
    net, steps = network(), Steps()
    first, second = stored(net), stored(net, steps)
    assert steps.names == []
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_tap_features_changed_code_with_the_same_weights_are_computed_again() -> None:
    stored(network())
    changed = stored(network(scale=3.0))
    with torch.no_grad():
        net = network(scale=3.0)
        inputs = view()[:5]
        expected = net.backbone(inputs)
    np.testing.assert_allclose(changed[1], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_tap_features_missing_part_ends_the_pass_behind_its_tap() -> None:
    deep, shallow = network(tap="blocks.1"), network(tap="blocks.0")
    stored(deep)
    shallow.backbone.runs = 0
    parts = [p for p in parts_of(shallow) if p.branch is not None]
    tap_features(shallow, parts, view(), backbone_digest(shallow))
    assert shallow.backbone.runs == 0
    assert len(stored(shallow)) == 2


@pytest.mark.parametrize("scale", [1e6, 1e-9])
def test_tap_features_beyond_float16_are_stored_in_float32(cache: Path, scale: float) -> None:
    net, steps = network(scale, tap="blocks.1"), Steps()
    torch.nn.init.zeros_(net.backbone.blocks[1].bias)
    rows = stored(net)[0]
    assert not 1e-2 < float(np.abs(rows).max()) < 65504
    assert len(np.unique(rows)) > 10
    assert {path.suffix for path in cache.glob("*/*")} == {".f32"}
    stored(net, steps)
    assert steps.names == []


def test_tap_features_not_finite_name_the_tap() -> None:
    with pytest.raises(ArtefactError, match=r"blocks\.0|blocks\.1"):
        stored(network(scale=float("inf")))
    assert not list(features_folder().glob("*/*.f16"))


def test_feature_context_file_that_is_cut_off_is_not_opened() -> None:
    context, part = FeatureContext("key", 3), PartShape("part", (2,))
    (context.folder / "part.f16").write_bytes(bytes(11))
    assert context.open(part) is None


def test_cache_that_cannot_be_written_is_named_and_by_default_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EETOOL_CACHE", str(tmp_path / "file"))
    settings, steps = replace(FROZEN, feature_views=AUTOMATIC), Steps()
    assert choose_views(network(), view()._examples, settings, steps).feature_views == 0
    assert "cannot be written" in steps.lines[0]
    with pytest.raises(OutputError, match="could not be written") as caught:
        stored(network())
    assert "EETOOL_CACHE" in str(caught.value.hint)


def test_make_room_removes_what_was_unused_longest(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = FeatureContext(name, 1).folder
        (folder / "x.f16").write_bytes(bytes(1000))
        os.utime(folder, (1e9 - age, 1e9 - age))
    monkeypatch.setenv(LIMIT, "0.0000025")  # 2,500 bytes
    make_room(1000, kept=["middle"])
    assert sorted(path.name for path in cache.iterdir()) == ["middle"]


def test_choose_views_depends_on_recipe_epochs_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, net = replace(view()._examples, augmentation=Augmentation()), network()

    def chosen(**settings: object) -> int:
        return choose_views(
            net, examples, replace(FROZEN, **{"epochs": 9, "feature_views": AUTOMATIC, **settings})
        ).feature_views

    assert (chosen(), chosen(epochs=2), chosen(epochs=1), chosen(recipe="joint")) == (4, 2, 0, 0)
    assert (chosen(feature_views=7), chosen(feature_views=0)) == (7, 0)
    assert chosen(loss=LossOptions(gradient_scaling=True)) == 0
    with pytest.raises(UsageError, match="features cannot be kept: the teacher reads the images"):
        chosen(feature_views=2, loss=LossOptions(teacher="net"))
    monkeypatch.setenv(LIMIT, "0.000002")  # 2,000 bytes: one version of 5 examples has 400
    assert chosen() == 2
    monkeypatch.setenv(LIMIT, "0.0000001")
    assert chosen() == 0


def test_tap_part_key_is_shared_by_branches_with_the_same_reduction() -> None:
    def key(text: str) -> str:
        return TapPart("t", Branch(BranchSpec.parse(text), (1, 4, 6, 6), 2)).key

    assert key("max2,conv3-4") == key("max2,sep3-8")
    assert len({key("max2,conv3-4"), key("avg2,conv3-4"), key("linear"), key("conv3-4")}) == 4


def test_tap_features_pass_never_exceeds_the_size_of_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    net, sizes = network(), list[int]()
    net.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr(rows, "_PASS_VALUES", 2 * 3 * 6 * 6)
    examples = view(9)
    kept = tap_features(net, parts_of(net), examples, backbone_digest(net), Steps())
    assert max(sizes) == 2
    assert all(len(part) == 9 for part in kept)
