"""Gate scores: what an exported exit says is what thresholds are fitted on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.data.source import Source
from eetool.data.splits import split_source
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.export.traced_model import trace_model
from eetool.model.checkpoint import Checkpoint
from eetool.model.gate_scores import SCORES, gate_confidence
from eetool.model.spec import Policy, TrainingSettings
from eetool.train.exit_answers import NetworkAnswers
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import train_model
from eetool.tune.calibration import Calibration
from eetool.tune.exit_costs import manifest_macs, model_macs
from eetool.tune.gate_scores import calibrated_confidences, exit_confidences
from eetool_runtime import load
from eetool_runtime.manifest import OperatingPoint
from eetool_runtime.preprocess import normalise

TEMPERATURES = (1.5, 0.7, 1.0)
pytestmark = pytest.mark.usefixtures("converted_once")
PLATT = Calibration(TEMPERATURES, (0.6, 1.7, 0.9), (0.5, -0.4, 0.1))


@pytest.fixture(scope="module")
def little(digits: Source) -> Source:
    return replace(digits, name="little", inputs=digits.inputs[:300, :, 1::4, 1::4], labels=digits.labels[:300])


@pytest.fixture(scope="module")
def checkpoint(little: Source, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Two early exits with learned confidences, trained for a moment on a backbone trained for another."""
    folder = tmp_path_factory.mktemp("scores")
    plan, settings = ExitPlan(2, "linear"), TrainingSettings("joint", 2, 0, 32, 0.05)
    whole = train_model("resnet8", little, plan, settings, folder / "state")
    backbone = {n.removeprefix("backbone."): x for n, x in whole.state.items() if n.startswith("backbone.")}
    torch.save(backbone, folder / "backbone.pt")
    learning = replace(settings, recipe="confidence")
    made = train_model("resnet8", little, plan, learning, folder / "state", weights=folder / "backbone.pt")
    for name in ("exits.0.classifier.bias", "exits.1.classifier.bias", "backbone.linear.bias"):
        made.state[name][3] += 1  # so young, the exits agree on nothing; now and then they agree on a three
    return made


def tuned_for(checkpoint: Checkpoint, score: str) -> Checkpoint:
    points = {"full": OperatingPoint((None, None)), "balanced": OperatingPoint((0.4, 0.6))}
    return checkpoint.with_policy(Policy(score, TEMPERATURES, points, 1.0))


def fitted_on(checkpoint: Checkpoint, images: np.ndarray, score: str) -> np.ndarray:
    logits, said = NetworkAnswers(checkpoint).outputs(images)
    learned = torch.sigmoid(torch.stack(said)).numpy()
    return exit_confidences(score, torch.stack(logits).numpy(), TEMPERATURES, learned)


@pytest.mark.parametrize("score", SCORES)
def test_split_exit_confidences_match_those_of_the_fit(checkpoint: Checkpoint, little: Source, score: str) -> None:
    images = little.inputs[split_source(little)["temperature"]]  # the samples of the checkpoint are these
    expected = fitted_on(checkpoint, images, score)
    tensors = trace_model(tuned_for(checkpoint, score), references=False).example(len(images))
    found = np.stack([tensors[f"exit{i}_confidence"].numpy() for i in range(3)])
    assert np.allclose(found, expected, atol=1e-4)
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert len(np.unique(found.round(3))) > 1, "a score that says one thing of everything would pass too"


@pytest.mark.parametrize("score", ["margin", "patience"])
def test_export_bundle_manifest_records_the_score(
    checkpoint: Checkpoint, little: Source, tmp_path: Path, score: str
) -> None:
    tuned = tuned_for(checkpoint, score)
    export_bundle(tuned, tmp_path / "m.eebundle", ExportOptions(references=False))
    model = load(tmp_path / "m.eebundle")
    images = little.inputs[split_source(little)["test"]]
    found = np.stack([sure for _, sure in model.every_exit(normalise(images, model.bundle.manifest.inputs[0]))])
    assert model.bundle.manifest.score == score
    assert np.allclose(found, fitted_on(tuned, images, score), atol=1e-4)

    manifest = model.bundle.manifest
    costs = manifest_macs(manifest)
    # Patience reads the answers of all exits before, so their heads run even where no gate can fire.
    assert costs.read_later == model_macs(tuned.record.spec, score).read_later
    assert costs.read_later == (frozenset({0, 1}) if score == "patience" else frozenset())


@pytest.mark.parametrize("score", SCORES)
def test_split_exit_confidences_with_platt_match_those_of_the_fit(
    checkpoint: Checkpoint, little: Source, score: str
) -> None:
    tuned = with_platt(checkpoint, score)
    images = little.inputs[split_source(little)["temperature"]]
    logits, said = NetworkAnswers(checkpoint).outputs(images)
    learned = torch.sigmoid(torch.stack(said)).numpy()
    expected = calibrated_confidences(score, torch.stack(logits).numpy(), PLATT, learned)
    tensors = trace_model(tuned, references=False).example(len(images))
    found = np.stack([tensors[f"exit{i}_confidence"].numpy() for i in range(3)])
    assert np.allclose(found, expected, atol=1e-4)
    plain = exit_confidences(score, torch.stack(logits).numpy(), TEMPERATURES, learned)
    for before, after in zip(plain, found, strict=True):  # a gate may say the same with another threshold
        order = np.argsort(before, kind="stable")
        assert (np.diff(after[order]) >= -1e-4).all()


EXTREME = np.array(
    [[3e38, -3e38, 0, 1], [3e38, 3e38, -3e38, 2e38], [-3e38, -1e38, -2e38, -3e38], [1e38, 0, 0, 0], [4, 3, 2, 1]],
    np.float32,
)


@pytest.mark.parametrize("platt", [None, (0.6, 0.5)], ids=["plain", "platt"])
@pytest.mark.parametrize("temperature", [1e-6, 0.7, 1e6])
@pytest.mark.parametrize("score", SCORES)
def test_confidence_of_finite_logits_is_finite_however_large(
    score: str, temperature: float, platt: tuple[float, float] | None
) -> None:
    """They and their differences overflow over a small temperature; the largest logit is taken off first."""
    scalars = None if platt is None else (torch.tensor(platt[0]), torch.tensor(platt[1]))
    logits = torch.tensor(EXTREME)
    found = gate_confidence(
        score, [logits], torch.tensor(temperature), 1, torch.tensor([3e38, -3e38, 0, 1, 2]), scalars
    )
    assert torch.isfinite(found).all()
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    if platt is None and score not in ("learned", "patience"):
        wanted = exit_confidences(score, EXTREME[None], [temperature])[0]
        assert np.allclose(found.numpy(), wanted, atol=1e-5)


def test_exported_graph_of_finite_logits_that_overflow_says_a_finite_confidence(
    checkpoint: Checkpoint, little: Source, tmp_path: Path
) -> None:
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    for name in ("exits.0.classifier", "exits.1.classifier", "backbone.linear"):
        state[f"{name}.bias"].copy_(torch.tensor([3e38, -3e38] * 5))
    tuned = tuned_for(replace(checkpoint, state=state), "max_softmax")
    export_bundle(tuned, tmp_path / "m.eebundle", ExportOptions(references=False))
    model = load(tmp_path / "m.eebundle")
    x = normalise(little.inputs[:1], model.bundle.manifest.inputs[0])
    for logits, sure in model.every_exit(x):
        assert np.isfinite(logits).all()
        assert sure == pytest.approx(0.2)  # five classes share the maximum
    assert model(x).probabilities.max() == pytest.approx(0.2)


def with_platt(checkpoint: Checkpoint, score: str) -> Checkpoint:
    tuned = tuned_for(checkpoint, score)
    policy = tuned.record.policy
    assert policy is not None
    return tuned.with_policy(replace(policy, slopes=PLATT.slopes, offsets=PLATT.offsets))


def test_model_platt_parameters_come_from_the_manifest(checkpoint: Checkpoint, little: Source, tmp_path: Path) -> None:
    export_bundle(with_platt(checkpoint, "max_softmax"), tmp_path / "m.eebundle", ExportOptions(references=False))
    model = load(tmp_path / "m.eebundle")
    manifest = model.bundle.manifest
    assert manifest.exits[1].scalars == ("exit1_temperature", "exit1_slope", "exit1_offset")
    assert (manifest.variants["onnx/fp32"].slopes, manifest.variants["onnx/fp32"].offsets) == (
        PLATT.slopes,
        PLATT.offsets,
    )
    x = normalise(little.inputs[:30], manifest.inputs[0])
    exits = model.every_exit(x)
    logits = np.stack([found for found, _ in exits])
    for (_, sure), expected in zip(exits, calibrated_confidences("max_softmax", logits, PLATT), strict=True):
        assert np.allclose(sure, expected, atol=1e-5)
    # One by one, through the bound graphs.
    assert [model(x[i : i + 1], min_exit=-1).confidence for i in range(5)] == pytest.approx(exits[-1][1][:5], abs=1e-5)
