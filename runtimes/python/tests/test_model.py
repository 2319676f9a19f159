"""The model on real graphs, against the same computation in numpy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import BackendError, InputError, UsageError
from eetool_runtime.result import softmax
from tests.helpers.recording_graphs import load_recording
from tests.helpers.tiny_bundle import (
    CLASSES,
    CONTRASTS,
    IMAGES,
    LABELS,
    POINTS,
    VARIANT,
    X,
    answers,
    image,
    leaves_at,
    pixels,
    write_tiny_bundle,
)


@pytest.fixture
def model(tiny_bundle: Path) -> ee.Model:
    return ee.load(tiny_bundle)


@pytest.mark.parametrize("point", list(POINTS))
@pytest.mark.parametrize(
    "tweaks",
    [{}, {"joined": True}, {"chained": True}, {"early_exits": 0}, {"early_exits": 1}, {"early_exits": 4}],
    ids=str,
)
def test_call_any_wiring_equals_numpy_reference(tmp_path: Path, tweaks: dict[str, Any], point: str) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, **tweaks))
    model.use(point)
    actual = answers(X, tweaks.get("early_exits", 2), chained=tweaks.get("chained", False))
    exits = leaves_at([confidence for _, confidence in actual], POINTS[point])
    for n, index in enumerate(exits):
        result = model(X[n : n + 1])
        logits, confidence = actual[index][0][n], actual[index][1][n]
        assert result.exit == index
        assert result.label == LABELS[int(logits.argmax())]
        assert result.confidence == pytest.approx(float(confidence), abs=1e-6)
        np.testing.assert_array_equal(result.logits, logits)


def test_call_contrast_decides_exit(model: ee.Model) -> None:
    assert [model(image(1, contrast)).exit for contrast in (2.0, 1.0, 0.25)] == [0, 1, 2]
    assert all(model(image(1, contrast)).label == "upper" for contrast in CONTRASTS)


def test_call_result_has_all_fields(model: ee.Model) -> None:
    result = model(image(2, 1.0))
    assert (result.exit, result.index, result.label) == (1, 2, "lower")
    assert result.latency_ms > 0
    assert result.probabilities.shape == (CLASSES,)
    assert result.probabilities.sum() == pytest.approx(1)
    assert result.probabilities.max() == pytest.approx(result.confidence, abs=1e-6)
    assert repr(result) == f"Result(label='lower', exit=1, confidence={result.confidence:.4f})"
    with pytest.raises(AttributeError):
        result.colour = "red"  # type: ignore[attr-defined]


def test_call_temperature_is_read_from_manifest(tmp_path: Path) -> None:
    def hotter(document: dict[str, Any]) -> None:
        document["variants"][VARIANT]["temperatures"] = [8.0, 8.0, 8.0]

    warm, hot = ee.load(write_tiny_bundle(tmp_path / "a")), ee.load(write_tiny_bundle(tmp_path / "b", edit=hotter))
    assert warm(image(0, 2.0)).exit == 0
    result = hot(image(0, 2.0))
    assert result.exit == 2
    assert result.probabilities.max() == pytest.approx(result.confidence, abs=1e-6)


def test_model_properties_describe_bundle(model: ee.Model) -> None:
    assert model.labels == LABELS
    assert model.variant == VARIANT
    assert list(model.operating_points) == ["full", "balanced", "fast"]
    assert model.operating_points["fast"].thresholds == (0.6, 0.6)
    model.operating_points.clear()
    assert len(model.operating_points) == 3


def test_use_points_and_thresholds_change_exit(model: ee.Model) -> None:
    assert (model.operating_point, model.thresholds) == ("balanced", (0.8, 0.8))
    x = image(0, 1.0)
    assert model(x).exit == 1
    model.use("fast")
    assert (model.operating_point, model.thresholds, model(x).exit) == ("fast", (0.6, 0.6), 0)
    model.use("full")
    assert (model.operating_point, model.thresholds, model(x).exit) == ("full", (None, None), 2)
    model.use(threshold=0.5)
    assert (model.operating_point, model.thresholds, model(x).exit) == (None, (0.5, 0.5), 0)
    model.use(threshold=[None, 0.5])
    assert (model.thresholds, model(x).exit) == ((None, 0.5), 1)
    model.use(threshold=0)
    assert model(image(3, 0.25)).exit == 0


def test_call_confidence_equal_to_threshold_leaves(model: ee.Model) -> None:
    x = image(0, 1.0)
    model.use(threshold=0)
    confidence = model(x).confidence
    model.use(threshold=confidence)
    assert model(x).exit == 0
    model.use(threshold=float(np.nextafter(confidence, 1)))
    assert model(x).exit == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operating_point": "turbo"}, "unknown operating point 'turbo'"),
        ({}, "takes an operating point or a threshold"),
        ({"operating_point": "fast", "threshold": 0.5}, "takes an operating point or a threshold"),
        ({"threshold": 1.5e9}, "threshold 1500000000.0 is out of range"),
        ({"threshold": "high"}, "threshold 'high' is out of range"),
        ({"threshold": (0.5,)}, "1 thresholds given; the model has 2 early exits"),
    ],
)
def test_use_invalid_arguments_raise_usage_error_without_change(
    model: ee.Model, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        model.use(**arguments)
    assert (model.operating_point, model(image(0, 1.0)).exit) == ("balanced", 1)


def test_call_runs_needed_components_only(tiny_bundle: Path) -> None:
    model, log = load_recording(tiny_bundle)
    for threshold, contrast, ran in [
        (0.8, 2.0, "seg0 exit0"),
        (0.8, 1.0, "seg0 exit0 seg1 exit1"),
        (0.8, 0.25, "seg0 exit0 seg1 exit1 exit2"),
        (None, 2.0, "seg0 seg1 exit2"),
        ((None, 0.8), 2.0, "seg0 seg1 exit1"),
    ]:
        model.use(**({"operating_point": "full"} if threshold is None else {"threshold": threshold}))
        log.clear()
        model(image(0, contrast))
        assert " ".join(log) == ran


def test_every_exit_batch_equals_numpy_reference(model: ee.Model) -> None:
    for (logits, confidence), (expected_logits, expected_confidence) in zip(model.every_exit(X), answers(X)):
        np.testing.assert_array_equal(logits, expected_logits)
        np.testing.assert_allclose(confidence, expected_confidence, atol=1e-6)


def test_stats_after_calls_count_exits_and_macs(model: ee.Model) -> None:
    for contrast in (2.0, 2.0, 1.0, 0.25):
        model(image(0, contrast))
    actual = model.stats()
    assert actual["exit_counts"] == [2, 1, 1]
    assert actual["mean_macs"] == (160 + 160 + 320 + 336) / 4
    assert actual["compute_saved"] == pytest.approx(1 - 244 / 304)
    assert actual["exit_shares_expected"] == [3 / 16, 5 / 16, 0.5]
    assert (actual["operating_point"], actual["variant"]) == ("balanced", VARIANT)
    assert (actual["threads"], actual["pool"]) == (1, "private")
    model.use(threshold=0.3)
    assert model.stats()["exit_shares_expected"] is None


def test_stats_at_full_depth_save_nothing(model: ee.Model) -> None:
    model.use("full")
    model(image(0, 2.0))
    assert model.stats()["compute_saved"] == 0


def test_preprocess_pixels_use_bundle_rule(model: ee.Model) -> None:
    for label, contrast in IMAGES:
        np.testing.assert_array_equal(model.preprocess(pixels(label, contrast)), image(label, contrast))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"picture": image(0, 1)}, r"expected inputs \['input'\], found \['picture'\]"),
        ({}, r"expected inputs \['input'\], found \[\]"),
        ({"input": image(0, 1), 7: 1}, r"expected inputs \['input'\], found \['7', 'input'\]"),
        (image(0, 1)[0], r"expected shape float32 \(batch, 1, 4, 4\), found \(1, 4, 4\)"),
        (X[:2], r"found \(2, 1, 4, 4\)"),
        (np.zeros((1, 3, 4, 4), np.float32), r"found \(1, 3, 4, 4\)"),
        (image(0, 1).astype(np.float64), "expected float32, found float64"),
        (image(0, np.nan), "holds NaN or infinite values"),
        (image(0, np.inf), "holds NaN or infinite values"),
        ([[1.0]], "expected a numpy array"),
    ],
)
def test_call_bad_input_raises_input_error_and_is_not_counted(model: ee.Model, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(inputs)
    assert model.stats()["calls"] == 0
    assert model(image(0, 2.0)).exit == 0


def test_call_several_inputs_are_bound_by_name(tmp_path: Path) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, ids=True))
    x = image(1, 0.25)
    assert model({"ids": np.array([[0, 1]]), "input": x}).exit == 2
    result = model({"input": x, "ids": np.array([[3, 8, 1]])})  # the largest id multiplies the contrast
    assert (result.exit, result.label) == (0, "upper")
    many = model.every_exit({"input": X, "ids": np.ones((len(X), 2), np.int64)})
    np.testing.assert_array_equal(many[2][0], answers(X)[2][0])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (image(0, 1), r"the model has 2 inputs; give a dict with \['input', 'ids'\]"),
        ({"input": image(0, 1)}, r"expected inputs \['input', 'ids'\], found \['input'\]"),
        ({"input": image(0, 1), "ids": np.ones((1, 2), np.int32)}, "input 'ids': expected int64, found int32"),
        ({"input": image(0, 1), "ids": np.ones(2, np.int64)}, r"input 'ids': expected shape int64 \(batch, tokens\)"),
    ],
)
def test_call_several_inputs_one_wrong_raises_input_error(tmp_path: Path, inputs: Any, message: str) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, ids=True))
    with pytest.raises(InputError, match=message):
        model(inputs)


def test_every_exit_inputs_of_different_batch_raise_input_error(tmp_path: Path) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, ids=True))
    with pytest.raises(InputError, match="input 'ids': 'batch' is 3 here and 2 in input 'input'"):
        model.every_exit({"input": X[:2], "ids": np.ones((3, 2), np.int64)})


def in_threads(count: int, work: Any) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []


def test_call_eight_threads_equal_single_thread(model: ee.Model) -> None:
    alone = [model(X[n : n + 1]) for n in range(len(X))]

    def work(number: int) -> None:
        for turn in range(200):
            n = (turn + number) % len(X)
            result = model(X[n : n + 1])
            assert (result.exit, result.label) == (alone[n].exit, alone[n].label)
            np.testing.assert_array_equal(result.logits, alone[n].logits)

    in_threads(8, work)
    assert model.stats()["calls"] == len(X) + 8 * 200


def test_use_during_calls_affects_later_calls(model: ee.Model) -> None:
    x = image(0, 1.0)  # leaves at exit 0 with fast and at exit 2 with full, never at 1

    def positions() -> Iterator[Optional[str]]:
        for _ in range(300):
            yield from ("fast", "full")

    def work(number: int) -> None:
        if number == 0:
            for point in positions():
                model.use(point)
        else:
            assert {model(x).exit for _ in range(300)} <= {0, 2}

    model.use("full")
    in_threads(4, work)


def test_softmax_large_logits_are_finite() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4], [0.0, -1e4]])), [[0.5, 0.5], [1, 0]])


@pytest.mark.parametrize("temperature", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("logits", [(3e38, -3e38, 0), (3e38, 3e38, 2e38), (-3e38, -1e38, -2e38), (0, 1e-38, 5)])
def test_probabilities_finite_logits_equal_float64(temperature: float, logits: tuple[float, ...]) -> None:
    """With a small temperature, finite logits and their differences overflow."""
    actual = ee.Result(0, 1.0, np.array(logits, np.float32), temperature, ("a", "b", "c"), 1.0).probabilities
    exact = np.array(logits, np.float64) / temperature
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, softmax(exact), atol=1e-6)
    assert actual.sum() == pytest.approx(1)


def test_call_failing_engine_raises_backend_error(tiny_bundle: Path) -> None:
    """Engines raise a dozen unrelated types."""

    def fail() -> None:
        raise ArithmeticError("no memory")

    model = ee.load(tiny_bundle)
    context = model._contexts.acquire()
    sound, context.calls[0] = context.calls[0], fail
    model._contexts.release(context)
    with pytest.raises(BackendError, match=r"onnx/fp32 could not run: no memory"):
        model(image(0, 2.0))
    context.calls[0] = sound
    assert model(image(0, 2.0)).exit == 0


def test_call_pixels_that_were_not_converted_are_warned_of_once(model: ee.Model) -> None:
    raw = np.full((1, 1, 4, 4), 200, np.float32)
    model(image(0, 2.0))
    with pytest.warns(
        UserWarning, match=r"'input': values from 200 to 200, where pixels .* become -1 to 6\.9.*; model"
    ):
        model(raw)
    model(raw)  # a second warning would be an error


def test_use_threshold_above_one_never_fires(model: ee.Model) -> None:
    model.use(threshold=2)
    assert model(image(1, 2.0)).exit == 2
    with pytest.raises(UsageError, match=r"threshold 2\.01 is out of range"):
        model.use(threshold=2.01)
