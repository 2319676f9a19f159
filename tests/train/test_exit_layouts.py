"""Exits on features of every layout: what they learn, what a checkpoint records, and what older ones keep."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.data.registry import load_source
from eetool.errors import ArtefactError, UsageError
from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool.model.early_exit import capture_outputs
from eetool.model.spec import TrainingSettings
from eetool.train.exit_answers import exit_accuracies
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits, train_model

NETWORKS = "tests.helpers.layout_networks"


@pytest.fixture(scope="module")
def pulses(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Sources of pulses at random places of one of three channels, which is the class; by number of axes."""
    rng, sources = np.random.default_rng(0), {}
    labels = rng.integers(0, 3, 300)
    for shape in ((24,), (8, 12)):
        features = rng.normal(0, 0.05, (300, 3, int(np.prod(shape)))).astype("f4")
        for example, label in zip(features, labels, strict=True):
            example[label, rng.integers(0, example.shape[1], example.shape[1] // 6)] += 2
        path = tmp_path_factory.mktemp("pulses") / f"{len(shape)}.npz"
        np.savez(path, features=features.reshape(300, 3, *shape), labels=labels)
        sources[len(shape)] = f"npz:{path}"
    return sources


@pytest.mark.parametrize(
    ("network", "axes", "layout"),
    [("waves", 1, "NCL"), ("columns", 1, "NCHW"), ("images", 2, "NCHW"), ("pixels", 2, "NHWC")],
)
def test_train_model_exit_of_any_layout_knows_the_channel(
    network: str, axes: int, layout: str, pulses: dict[int, str], tmp_path: Path
) -> None:
    source, plan = load_source(pulses[axes]), ExitPlan(1, "linear", ("blocks.0",))
    settings = TrainingSettings("joint", 12, 0, 32, 0.2)
    checkpoint = train_model(f"{NETWORKS}:{network}", source, plan, settings, tmp_path / "state")
    assert checkpoint.record.spec.layouts == (layout,)
    assert exit_accuracies(checkpoint, source)[0][0] == 1.0


def test_attach_exits_over_time_default_branch_and_weights_are_those_over_pixels() -> None:
    flat, square = (attach_exits(f"{NETWORKS}:{name}", None, None, ExitPlan(2), 0) for name in ("waves", "columns"))
    assert flat.record.spec.layouts == ("NCL", "NCL")
    assert flat.record.spec.branches == square.record.spec.branches == ("max2,conv3-32,max2,conv3-64",) * 2
    plan = ExitPlan(2, "linear", ("blocks.0", "blocks.1"))
    flat, square = (attach_exits(f"{NETWORKS}:{name}", None, None, plan, 0) for name in ("waves", "columns"))
    weights = zip(square.state.items(), flat.state.values(), strict=True)
    square = replace(square, state={name: x.reshape(old.shape) for (name, old), x in weights})
    inputs = flat.samples["x"]
    for a, b in zip(flat.build()(inputs), square.build()(inputs), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_attach_exits_unclear_layout_is_asked_for_and_recorded(tmp_path: Path) -> None:
    unclear = f"{NETWORKS}:unclear"
    with pytest.raises(UsageError, match=r"features \(N, 4, 6\) at tap '0'") as raised:
        attach_exits(unclear, None, None, ExitPlan(1, "linear", ("0",)), 0)
    assert "--tap-layout NCL or NLC" in (raised.value.hint or "")
    assert attach_exits(unclear, None, None, ExitPlan(1, "linear"), 0).record.spec.layouts == ("NC",)
    made = attach_exits(unclear, None, None, ExitPlan(1, None, ("0",), layouts=("NLC",)), 0)
    assert (made.record.spec.layouts, made.record.spec.branches) == (("NLC",), ("linear",))
    save_checkpoint(tmp_path / "model.pt", made)
    assert load_checkpoint(tmp_path / "model.pt", [unclear]).build().exits[0].classifier.in_features == 6
    wrong = replace(made, record=replace(made.record, spec=replace(made.record.spec, layouts=("NWHC",))))
    save_checkpoint(tmp_path / "wrong.pt", wrong)
    with pytest.raises(ArtefactError, match="one layout of NC, NCL"):
        load_checkpoint(tmp_path / "wrong.pt", [unclear])


def test_build_file_without_layouts_pools_as_it_was_trained() -> None:
    made = attach_exits(f"{NETWORKS}:images", None, None, ExitPlan(1, "linear", ("blocks.0",)), 0)
    spec = replace(made.record.spec, layouts=())
    old = replace(made, record=replace(made.record, spec=spec), state=dict(made.state))
    old.state["exits.0.classifier.weight"] = torch.randn(3, 12)  # equal sizes in front of another: it read columns
    net = old.build()
    with torch.no_grad(), capture_outputs(net.backbone, ("blocks.0",)) as features:
        logits = net(old.samples["x"])[0]
    assert features["blocks.0"].shape[1:] == (8, 8, 12)
    assert torch.allclose(logits, net.exits[0].classifier(features["blocks.0"].mean((1, 2))), atol=1e-6)


def test_attach_exits_volumes_and_time_first_have_the_mean_over_positions() -> None:
    for network, layout, axes in (("volumes", "NCDHW", (2, 3, 4)), ("time_first", "LNC", (0,))):
        made = attach_exits(f"{NETWORKS}:{network}", None, None, ExitPlan(1), 0)
        assert (made.record.spec.layouts, made.record.spec.branches) == ((layout,), ("linear",))
        net, (tap,) = made.build(), made.record.spec.taps
        with torch.no_grad(), capture_outputs(net.backbone, (tap,)) as features:
            logits = net(made.samples["x"])[0]
        branch, x = net.exits[0], features[tap]
        expected = branch.classifier(branch.layers(x).mean(axes))
        assert torch.allclose(logits, expected, atol=1e-6)
