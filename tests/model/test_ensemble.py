"""Cascade connections and ensembles of Zero Time Waste (arXiv 2106.05409): exits that read earlier exits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.data.source import Source
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.model.checkpoint import Checkpoint, build_net
from eetool.model.ensemble import Ensemble
from eetool.model.spec import TrainingSettings
from eetool.train.exit_answers import every_exit_logits
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits, train_model
from eetool.tune.exit_costs import manifest_macs, model_macs
from eetool.tune.gate_scores import exit_confidences
from eetool_runtime import load
from eetool_runtime.execution_plan import plan_steps
from eetool_runtime.preprocess import normalise

BOTH = ExitPlan(3, "linear", cascade=True, ensemble=True)
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture(scope="module")
def little(digits: Source) -> Source:
    return replace(digits, name="little", inputs=digits.inputs[:300, :, 1::4, 1::4], labels=digits.labels[:300])


@pytest.fixture(scope="module")
def checkpoint(little: Source, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return train_model(
        "resnet20", little, BOTH, TrainingSettings("joint", 3, 0, 32, 0.05), tmp_path_factory.mktemp("ztw") / "state"
    )


def test_ensemble_probabilities_equal_product_of_powers() -> None:
    torch.manual_seed(0)
    ensemble = Ensemble(5)
    ensemble.bias.data.normal_()
    own, before = torch.randn(2, 7, 5)
    powers = [float(torch.nn.functional.softplus(x.detach())) for x in (ensemble.own, ensemble.before)]
    assert powers == pytest.approx([1.0, 0.5])
    product = own.softmax(1) ** powers[0] * before.softmax(1) ** powers[1] * ensemble.bias.exp()
    expected = product / product.sum(1, keepdim=True)
    assert torch.allclose(ensemble(own, before).softmax(1), expected, atol=1e-6)


def test_forward_outputs_in_training_no_gradient_reaches_earlier_exits() -> None:
    net = build_net(attach_exits("resnet20", (1, 1, 8, 8), 3, BOTH, seed=0).record.spec).train()
    outputs = net.forward_outputs(torch.randn(4, 1, 8, 8))
    outputs.own[1].sum().backward(retain_graph=True)
    assert net.exits[0].classifier.weight.grad is None, "no gradient through a cascade connection"
    outputs.logits[2].sum().backward()
    assert net.exits[2].classifier.weight.grad is None, "no gradient from an ensemble to its exits"
    assert all(p.grad is not None for p in net.ensembles[1].parameters())
    assert net.ensembles[0].bias.grad is None


def test_forward_cascade_changed_exit_changes_later_exits() -> None:
    spec = attach_exits("resnet20", (1, 1, 8, 8), 3, replace(BOTH, ensemble=False), seed=0).record.spec
    net = build_net(spec).eval()
    x = torch.randn(2, 1, 8, 8)
    before = net(x)
    net.exits[0].classifier.bias.data[1] += 5
    after = net(x)
    assert [not torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize("option", ["cascade", "ensemble"])
def test_train_model_cascade_or_ensemble_adds_only_its_parameters(little: Source, tmp_path: Path, option: str) -> None:
    plain = ExitPlan(2, "linear")
    trained, without = (
        train_model("resnet8", little, p, TrainingSettings("joint", 1, 0, 64, 0.05), tmp_path / "s")
        for p in (replace(plain, **{option: True}), plain)
    )
    assert trained.record.spec == replace(without.record.spec, **{option: True})
    same = {n for n, x in trained.state.items() if n in without.state and x.shape == without.state[n].shape}
    if option == "cascade":
        assert set(without.state) - same == {"exits.1.classifier.weight"}
    else:
        assert set(trained.state) - same == {f"ensembles.0.{name}" for name in ("own", "before", "bias")}
        assert torch.equal(trained.state["backbone.conv1.weight"], without.state["backbone.conv1.weight"])


def test_export_bundle_cascade_and_ensemble_equal_the_model(
    checkpoint: Checkpoint, little: Source, tmp_path: Path
) -> None:
    export_bundle(checkpoint, tmp_path / "m.eebundle", ExportOptions(references=False))
    model = load(tmp_path / "m.eebundle")
    manifest = model.bundle.manifest
    inputs = {c.name: c.inputs for c in manifest.components}
    assert "exit0_logits" in inputs["exit1"]
    assert "exit1_logits" in inputs["exit2"]
    images = little.inputs[:40]
    expected = every_exit_logits(checkpoint, images)
    exits = model.every_exit(normalise(images, manifest.inputs[0]))
    for (logits, confidence), expected_logits in zip(exits, expected, strict=True):
        assert np.allclose(logits, expected_logits.numpy(), atol=1e-4)
        assert np.allclose(confidence, exit_confidences("max_softmax", logits[None], [1.0])[0], atol=1e-5)


def test_model_macs_exit_that_is_read_is_charged_where_its_reader_runs(checkpoint: Checkpoint, tmp_path: Path) -> None:
    costs = model_macs(checkpoint.record.spec)
    assert costs.reads == (frozenset(), frozenset({0}), frozenset({1}))
    export_bundle(checkpoint, tmp_path / "m.eebundle", ExportOptions(references=False))
    manifest = load(tmp_path / "m.eebundle").bundle.manifest
    assert manifest_macs(manifest) == costs
    for thresholds in [(None, None, None), (0.5, None, None), (None, 0.5, None), (None, None, 0.5), (0.5, 0.5, 0.5)]:
        stages = {s.gate.exit_index: s.macs for s in plan_steps(manifest, thresholds) if s.gate is not None}
        charged = costs.leaving(thresholds)
        assert {i: charged[i] for i in stages} == stages
