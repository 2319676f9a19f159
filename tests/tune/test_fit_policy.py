"""Policies in the runtime: they match the fit on the model, and can be fitted again on its bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eetool.data.source import Source
from eetool.data.splits import TEMPERATURE, TEST, THRESHOLD, split_source
from eetool.errors import ArtefactError
from eetool.latency.estimate.cascade_cost import layout_of_manifest
from eetool.metrics import exits_taken, softmax_confidence
from eetool.model.checkpoint import load_checkpoint
from eetool.tune.fit_policy import tune_bundle
from eetool_runtime import Model, load, open_bundle
from eetool_runtime.preprocess import normalise


@pytest.fixture(scope="module")
def model(bundle: Path) -> Model:
    return load(bundle)


def inputs(model: Model, source: Source, split: str) -> np.ndarray:
    return normalise(source.inputs[split_source(source)[split]], model.bundle.manifest.inputs[0])


def test_runtime_decisions_match_cached_confidences(model: Model, digits: Source) -> None:
    x = inputs(model, digits, TEST)[:100]
    confidences = np.stack([confidence for _, confidence in model.every_exit(x)])
    for name, point in model.operating_points.items():
        model.use(name)
        taken = [model(x[i : i + 1]).exit for i in range(len(x))]
        assert taken == exits_taken(confidences, point.thresholds).tolist()
    assert len(set(taken)) > 1, "at `fast`, not every digit leaves at the same exit"


def test_runtime_figures_on_the_held_out_examples_match_the_expected(model: Model, digits: Source) -> None:
    splits = (TEMPERATURE, THRESHOLD)
    labels = digits.labels[np.concatenate([split_source(digits)[split] for split in splits])]
    exits = model.every_exit(np.concatenate([inputs(model, digits, split) for split in splits]))
    answers = np.stack([logits.argmax(1) for logits, _ in exits])
    for point in model.operating_points.values():
        taken = exits_taken(np.stack([confidence for _, confidence in exits]), point.thresholds)
        assert point.expected is not None
        # Expected is the accuracy on new data; chosen on these examples, thresholds may look a little better on them.
        here = (answers[taken, np.arange(len(taken))] == labels).mean()
        assert here == pytest.approx(point.expected.accuracy, abs=0.05)
        assert any(point.thresholds) or here == pytest.approx(point.expected.accuracy)
        assert np.bincount(taken, minlength=3) / len(taken) == pytest.approx(point.expected.exit_shares)


def test_graph_confidences_match_the_fitted_ones(model: Model, digits: Source) -> None:
    exits = model.every_exit(inputs(model, digits, TEST)[:50])
    temperatures = model.bundle.manifest.variants[model.variant].temperatures
    for (logits, confidence), temperature in zip(exits, temperatures, strict=True):
        assert np.allclose(softmax_confidence(logits, temperature), confidence, atol=1e-5)


def test_tune_bundle_same_goals_matches_the_fit_of_the_model(bundle: Path, tuned: Path, digits: Source) -> None:
    _, found = tune_bundle(open_bundle(bundle), "onnx/fp32", digits, 4)
    policy = load_checkpoint(tuned).record.policy
    assert policy is not None
    assert found.calibration.temperatures == pytest.approx(policy.temperatures, rel=1e-3)
    for name, point in policy.operating_points.items():
        a, b = found.operating_points[name].expected, point.expected
        assert a
        assert b
        # Logits of the two backends differ in their last bits, by which a few examples change sides of a threshold.
        assert a.accuracy == pytest.approx(b.accuracy, abs=0.01)
        assert a.exit_shares == pytest.approx(b.exit_shares, abs=0.03)


def test_tune_bundle_with_latencies_minimises_them(bundle: Path, digits: Source) -> None:
    opened = open_bundle(bundle)
    dear_heads = {c.name: 0.01 for c in opened.manifest.components} | {"exit0": 100.0, "exit1": 100.0}
    _, found = tune_bundle(
        opened, "onnx/fp32", digits, 4, priced=layout_of_manifest(opened.manifest).arrange(dear_heads)
    )
    assert found.operating_points["fast"].thresholds == (None, None), "no exit is worth its head"
    assert found.operating_points["fast"].expected == found.operating_points["full"].expected


def test_tune_bundle_other_data_raises_artefact_error(bundle: Path, digits: Source) -> None:
    with pytest.raises(ArtefactError, match="trained on 'digits', not on 'letters'"):
        tune_bundle(open_bundle(bundle), "onnx/fp32", replace(digits, name="letters"), 4)


def test_tune_bundle_graph_that_gives_nan_is_refused(
    bundle: Path, digits: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_nan(model: Model, inputs: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        n = len(inputs["input"])
        logits = np.ones((n, 10), np.float32)
        logits[4, :2] = np.nan
        return [(logits, np.ones(n, np.float32))] * len(model.bundle.manifest.exits)

    monkeypatch.setattr(Model, "every_exit", with_nan)
    with pytest.raises(ArtefactError, match="exit 0 gives 2 NaN or infinite logits for example 4 of the split"):
        tune_bundle(open_bundle(bundle), "onnx/fp32", digits, 1.0)


def test_tune_bundle_classes_in_another_order_raise_artefact_error(bundle: Path, digits: Source) -> None:
    turned = replace(digits, classes=digits.classes[::-1])
    with pytest.raises(ArtefactError, match="has other classes than 'digits': in another order"):
        tune_bundle(open_bundle(bundle), "onnx/fp32", turned, 1.0)
