"""From a reference to a checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eetool.data import rows
from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.data.splits import TEMPERATURE, split_record, split_source
from eetool.errors import UsageError
from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool.model.spec import TrainingSettings
from eetool.train.exit_answers import every_exit_logits, exit_accuracies
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits, train_model
from eetool_runtime.preprocess import normalise


def test_train_model_digits_exceeds_chance(trained: Path, digits: Source) -> None:
    accuracies, n = exit_accuracies(load_checkpoint(trained), digits)
    assert n == 252
    assert accuracies == sorted(accuracies), "deeper exits know more"
    assert accuracies[-1] > 0.8


def test_train_model_record_holds_data_and_settings(trained: Path, digits: Source) -> None:
    record = load_checkpoint(trained).record
    assert record.training == TrainingSettings("joint", 4, 0, 64, 0.1, augment="light", mirror=False, keep="best")
    assert record.spec.labels == digits.classes
    assert record.data is not None
    assert (record.data.source, record.data.splits) == ("digits", split_record(split_source(digits)))
    assert record.policy is None


def test_train_model_samples_are_preprocessed_held_out_examples(trained: Path, digits: Source) -> None:
    checkpoint = load_checkpoint(trained)
    held_out = digits.inputs[split_source(digits)[TEMPERATURE][:32]]
    expected = normalise(held_out, checkpoint.record.spec.inputs[0])
    assert np.allclose(checkpoint.samples["input"].numpy(), expected, atol=1e-5)


def test_train_model_preprocessing_standardises_training_pixels(trained: Path, digits: Source) -> None:
    rule = load_checkpoint(trained).record.spec.inputs[0]
    made = normalise(digits.inputs[split_source(digits)["train"]], rule)
    assert made.mean() == pytest.approx(0, abs=1e-3)
    assert made.std() == pytest.approx(1, abs=1e-3)


def test_train_model_other_seed_has_the_same_splits_and_other_weights(little: Source, tmp_path: Path) -> None:
    a, b = (
        train_model("resnet8", little, ExitPlan(1, "linear"), TrainingSettings("joint", 1, s, 64, 0.05), tmp_path / "s")
        for s in (1, 2)
    )
    assert a.record.data == b.record.data
    assert not torch.equal(a.state["backbone.conv1.weight"], b.state["backbone.conv1.weight"])


def test_every_exit_logits_any_batch_size_are_equal(
    trained: Path, digits: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(trained)
    at_once = every_exit_logits(checkpoint, digits.inputs[:20])
    monkeypatch.setattr(rows, "_PASS_VALUES", 7 * digits.inputs[0].size)
    in_parts = every_exit_logits(checkpoint, digits.inputs[:20])
    assert [x.shape for x in at_once] == [(20, 10)] * 3
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(at_once, in_parts, strict=True))


def test_attach_exits_needs_no_data() -> None:
    checkpoint = attach_exits("resnet20", (1, 3, 16, 16), 5, ExitPlan(2, "linear"), seed=0)
    spec = checkpoint.record.spec
    assert len(spec.taps) == 2
    assert spec.labels == ("0", "1", "2", "3", "4")
    assert checkpoint.record.data is None
    assert [x.shape for x in checkpoint.build()(checkpoint.samples["input"])] == [(32, 5)] * 3


def test_make_spec_named_taps_are_ordered_from_shallow_to_deep() -> None:
    plan = ExitPlan(2, "linear", ("layer3.0", "layer1.0"))
    assert attach_exits("resnet8", (1, 3, 16, 16), 5, plan, seed=0).record.spec.taps == ("layer1.0", "layer3.0")


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (ExitPlan(99, "linear"), "99 exits asked for"),
        (ExitPlan(1, "linear", ("layer9",)), "unknown tap 'layer9'"),
        (ExitPlan(2, "linear", ("layer1", "layer1")), "named twice"),
        (ExitPlan(1, "linear", ("linear",)), "'linear' saves nothing"),
        (ExitPlan(1, "conv9-8"), "unknown branch layer"),
    ],
)
def test_make_spec_invalid_plan_raises_usage_error(plan: ExitPlan, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        attach_exits("resnet8", (1, 3, 16, 16), 5, plan, seed=0)


@pytest.fixture
def weights(little: Source, tmp_path: Path) -> Path:
    """A model.pt without exits, for a moment of training."""
    checkpoint = train_model(
        "resnet8", little, ExitPlan(0), TrainingSettings("joint", 1, 0, 64, 0.05), tmp_path / "state"
    )
    save_checkpoint(tmp_path / "backbone.pt", checkpoint)
    return tmp_path / "backbone.pt"


@pytest.mark.parametrize("recipe", ["frozen", "confidence"])
def test_train_model_frozen_recipe_changes_exits_only(
    little: Source, weights: Path, tmp_path: Path, recipe: str
) -> None:
    settings = TrainingSettings(recipe, 1, 3, 64, 0.05)
    before = load_checkpoint(weights).state
    after = train_model("resnet8", little, ExitPlan(1, "conv1-8"), settings, tmp_path / "s", weights=weights).state
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), f"{name} changed, weights or statistics"
    untouched = replace(settings, epochs=0)
    fresh = train_model("resnet8", little, ExitPlan(1, "conv1-8"), untouched, tmp_path / "s", weights=weights).state
    assert not torch.equal(after["exits.0.classifier.weight"], fresh["exits.0.classifier.weight"])
    assert ("exits.0.confidence.weight" in after) == (recipe == "confidence")


def test_train_model_weights_of_a_model_initialise_matching_exits(
    little: Source, weights: Path, tmp_path: Path
) -> None:
    settings, plan = TrainingSettings("frozen", 1, 3, 64, 0.05), ExitPlan(2, ("conv1-8", "linear"))
    first = train_model("resnet8", little, plan, settings, tmp_path / "s", weights=weights)
    save_checkpoint(tmp_path / "first.pt", first)

    def begin(plan: ExitPlan, recipe: str) -> dict[str, torch.Tensor]:
        settings = TrainingSettings(recipe, 0, 4, 64, 0.05)
        return train_model("resnet8", little, plan, settings, tmp_path / "s", weights=tmp_path / "first.pt").state

    same = begin(plan, "confidence")
    assert all(torch.equal(same[name], tensor) for name, tensor in first.state.items())
    assert set(same) - set(first.state) == {f"exits.{i}.confidence.{x}" for i in (0, 1) for x in ("weight", "bias")}
    # Another branch at the first tap, no exit at the second: nothing fits, and exits begin afresh.
    alone = ExitPlan(1, "conv1-4", first.record.spec.taps[:1])
    fresh = train_model(
        "resnet8", little, alone, TrainingSettings("frozen", 0, 4, 64, 0.05), tmp_path / "s", weights=weights
    ).state
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in begin(alone, "frozen").items())


def test_train_model_frozen_without_weights_or_exits_raises_usage_error(
    little: Source, weights: Path, tmp_path: Path
) -> None:
    settings = TrainingSettings("frozen", 1, 3, 64, 0.05)
    with pytest.raises(UsageError, match="needs a trained backbone"):
        train_model("resnet8", little, ExitPlan(1), settings, tmp_path / "s")
    with pytest.raises(UsageError, match="there is none"):
        train_model("resnet8", little, ExitPlan(0), settings, tmp_path / "s", weights=weights)


def test_train_model_erase_without_pixels_raises_usage_error(tmp_path: Path) -> None:
    features = tmp_path / "features.npz"
    np.savez(features, features=np.zeros((40, 4), np.float32), labels=np.arange(40) % 2)
    settings = TrainingSettings("joint", 1, 0, 8, 0.1, erase=2)
    with pytest.raises(UsageError, match="no pixels to erase"):
        train_model("mlp-8x1", load_source(f"npz:{features}"), ExitPlan(0), settings, tmp_path / "state")


class Autocast(nn.Sequential):
    """Network that computes in bfloat16 inside, and returns float32."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


def autocast() -> nn.Module:
    """Return a network without a place for an exit."""
    return Autocast(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def test_attach_exits_features_in_other_floats_are_named() -> None:
    words = r"0 places: from 1 \(Linear\) on, features are bfloat16, not float32"
    with pytest.raises(UsageError, match=words):
        attach_exits(f"{__name__}:autocast", (1, 1, 4, 4), 3, ExitPlan(2), 0)


class Versioned(nn.Sequential):
    """Network that refuses tensors without a version, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError(f"version {local_metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def versioned() -> nn.Module:
    """Return the network."""
    return Versioned(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def test_checkpoint_network_with_versions_of_its_tensors_is_built(tmp_path: Path) -> None:
    name = f"{__name__}:versioned"
    checkpoint = attach_exits(name, (1, 1, 4, 4), 3, ExitPlan(1), 0)
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    loaded = load_checkpoint(tmp_path / "model.pt", (name,)).build()
    assert torch.equal(loaded.state_dict()["backbone.1.weight"], checkpoint.state["backbone.1.weight"])
