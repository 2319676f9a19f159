"""Streams of a model, on real graphs and scripted ones."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eetool_runtime as ee
from eetool_runtime.errors import BackendError, InputError, UsageError
from eetool_runtime.manifest import Input, Manifest, Preprocess, Resize, StreamPolicy
from eetool_runtime.stream import FrameStream
from eetool_runtime.stream_filter import StreamFilter, calibrated
from eetool_runtime.testing import FakeClock, ScriptedAnswer, scripted
from tests.helpers.backend_contract import HAS_LITERT
from tests.helpers.recording_graphs import load_recording
from tests.helpers.tiny_bundle import CLASSES, LABELS, VARIANT, X, image, with_stream, write_tiny_bundle
from tests.helpers.tiny_litert_bundle import INPUTS, write_litert_bundle

RATES = [1 / CLASSES] * CLASSES
POLICY = StreamPolicy(0.05, (0.9, 0.9))
NAN = np.full_like(image(0, 1.0), np.nan)
CAT = ScriptedAnswer("cat", logits=(3.0, 0.0, 0.0))
DOG = ScriptedAnswer("dog", logits=(0.0, 3.0, 0.0))
ANIMALS = ("cat", "dog", "cow")


@pytest.fixture
def model(tmp_path: Path) -> ee.Model:
    return ee.load(write_tiny_bundle(tmp_path, edit=with_stream))


def of_script(*script: ScriptedAnswer, policy: StreamPolicy = POLICY, **options: Any) -> FrameStream:
    return scripted(script, labels=ANIMALS, **options).stream(policy=policy, base_rates=[1 / 3] * 3, period_s=0.5)


@pytest.mark.parametrize(
    "tweaks",
    [{}, {"joined": True}, {"chained": True}, {"early_exits": 0}, {"early_exits": 1}, {"early_exits": 4}],
    ids=str,
)
@pytest.mark.parametrize("options", [{}, {"check_every": 3}, {"skip_distance": 0.02}, {"agree": False}], ids=str)
def test_stream_equals_the_rule_on_all_exits(tmp_path: Path, tweaks: dict[str, Any], options: dict[str, Any]) -> None:
    model = ee.load(write_tiny_bundle(tmp_path, **tweaks))
    policy = StreamPolicy(0.05, (0.9,) * tweaks.get("early_exits", 2), **options)
    rule, stream = StreamFilter(policy, np.array(RATES)), model.stream(policy=policy, base_rates=RATES)
    temperatures = model.bundle.manifest.variants[VARIANT].temperatures
    state = rule.start
    for n in [0, 0, 1, 5, 5, 5, 9, 15, 15, 3, 3, 7]:
        every = [calibrated(logits[0], t) for (logits, _), t in zip(model.every_exit(X[n : n + 1]), temperatures)]
        expected = rule.step(state, lambda full, every=every: ((k, every[k]) for k in rule.exits(full)))
        state, result = expected.state, stream(X[n : n + 1])
        assert (result.exit, result.index, result.skipped) == (expected.exit, expected.label, expected.skipped)
        np.testing.assert_allclose(result.posterior, state.posterior, atol=1e-9)


def test_stream_result_of_held_answer_has_both_classes() -> None:
    stream = of_script(CAT, ScriptedAnswer("dog", logits=(0.0, 0.5, 0.0)))
    first, second = stream(np.zeros((1, 3, 32, 32), np.float32)), stream(np.zeros((1, 3, 32, 32), np.float32))
    assert isinstance(first, ee.Result)
    assert (first.label, first.raw_label, first.held) == ("cat", "cat", False)
    assert (second.label, second.raw_label, second.held, second.index) == ("cat", "dog", True, 0)
    assert second.confidence == pytest.approx(second.posterior[0])
    assert second.probabilities.argmax() == 1
    assert repr(second).startswith("StreamResult(label='cat', exit=2")
    assert "held against 'dog'" in repr(second)
    with pytest.raises(ValueError, match="read-only"):
        second.posterior[0] = 1


def test_stream_by_default_is_that_of_the_bundle(model: ee.Model) -> None:
    default, careful = model.stream(), model.stream("stream-careful")
    assert (default.point, default.policy.epsilon, careful.policy.epsilon) == ("stream-balanced", 0.05, 0.2)
    assert default.stats()["exit_shares_expected"] == [1.0, 0.0, 0.0]


def test_stream_skips_components_behind_its_exit(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path, edit=with_stream)
    lazy = ee.load(path, preload=False)
    assert lazy.stream()(image(0, 2.0)).exit == 0
    assert lazy.memory()["not_loaded"] == ["seg1", "exit1", "exit2"]
    model, ran = load_recording(path)
    stream = model.stream(policy=StreamPolicy(0.05, (None, 0.2)), base_rates=RATES)
    stream(image(0, 2.0))
    assert list(ran) == ["seg0", "seg1", "exit1"]  # exit 0 has no threshold
    ran.clear()
    model.stream(policy=StreamPolicy(0.05, (0.1, 0.1), check_every=1), base_rates=RATES)(image(0, 2.0))
    assert list(ran) == ["seg0", "seg1", "exit2"]


def test_streams_of_one_model_are_independent(model: ee.Model) -> None:
    first, second = model.stream(), model.stream()
    for _ in range(3):
        first(image(0, 1.0))
        second(image(1, 1.0))
    assert (first.posterior.argmax(), second.posterior.argmax()) == (0, 1)
    first.reset()
    np.testing.assert_allclose(first.posterior, RATES)
    assert second.posterior[1] > 0.9


def test_streams_in_threads_equal_those_in_turn(model: ee.Model) -> None:
    order = np.random.default_rng(0).integers(len(X), size=(8, 40))
    alone = [list(map(model.stream(), (X[n : n + 1] for n in row))) for row in order]
    together: list[list[Any]] = [[] for _ in order]

    def run(row: int) -> None:
        together[row] = list(map(model.stream(), (X[n : n + 1] for n in order[row])))

    threads = [threading.Thread(target=run, args=(row,)) for row in range(len(order))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    posteriors = [[[result.posterior for result in row] for row in rows] for rows in (together, alone)]
    np.testing.assert_array_equal(*posteriors)


def test_stream_call_during_another_is_refused(model: ee.Model) -> None:
    stream = model.stream()
    with stream._answering, pytest.raises(UsageError, match="answering another frame"):
        stream(image(0, 1.0))
    assert stream(image(0, 1.0)).label == LABELS[0]


@pytest.mark.parametrize("lost", [None, NAN, {"input": NAN}], ids=["None", "NaN", "NaN by name"])
def test_stream_frame_not_finite_is_answered_by_the_filter(model: ee.Model, lost: Any) -> None:
    stream = model.stream()
    before = stream(image(1, 2.0)).posterior
    result = stream(lost)
    assert (result.label, result.raw_label, result.exit, result.held) == (LABELS[1], None, -1, False)
    assert np.isnan(result.logits).all()
    assert np.isnan(result.probabilities).all()
    np.testing.assert_allclose(result.posterior, 0.95 * before + 0.05 * np.array(RATES))
    figures = stream.stats()
    assert (figures["frames"], figures["without_evidence"], sum(figures["exit_counts"])) == (2, 1, 1)
    with pytest.raises(InputError, match="NaN"):
        model(NAN)


def test_stream_graph_without_finite_logits_never_leaves_early() -> None:
    stream = of_script(CAT, ScriptedAnswer("cat", logits=(np.nan, 0.0, 0.0)), policy=StreamPolicy(0.05, (0.3, 0.3)))
    frame = np.zeros((1, 3, 32, 32), np.float32)
    assert stream(frame).exit == 0
    bad = stream(frame)
    assert (bad.exit, bad.label, bad.raw_label) == (2, "cat", None)
    assert stream.stats()["without_evidence"] == 1


def test_stream_wrong_shape_is_an_error_and_changes_nothing(model: ee.Model) -> None:
    stream = model.stream()
    before = stream(image(1, 2.0)).posterior
    with pytest.raises(InputError, match="expected shape"):
        stream(NAN[:, :, :2])
    np.testing.assert_array_equal(stream.posterior, before)
    assert stream.stats()["frames"] == 1


def test_stream_failing_engine_changes_nothing(model: ee.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = model.stream()
    before = stream(image(1, 2.0)).posterior
    context = model._contexts.acquire()
    monkeypatch.setattr(model._contexts, "acquire", lambda: context._replace(calls=[lambda: 1 / 0]))
    with pytest.raises(BackendError, match="could not run"):
        stream(image(0, 1.0))
    np.testing.assert_array_equal(stream.posterior, before)


def test_stream_deadline_and_min_exit_hold() -> None:
    clock = FakeClock()
    times = dict.fromkeys(("seg0", "seg1", "seg2"), 10.0)
    stream = of_script(CAT, clock=clock, component_ms=times, policy=StreamPolicy(0.05, (0.99, None), check_every=2))
    frame = np.zeros((1, 3, 32, 32), np.float32)
    first = stream(frame, deadline_ms=12)  # later sections are expected to take as long as the first
    assert (first.exit, first.gated, first.label) == (0, False, "cat")
    assert stream(frame, deadline_ms=12).exit == 0  # a check that has no time
    assert stream(frame, deadline_ms=1000).exit == 2  # so it is still due
    assert stream(frame, min_exit=1).exit == 2
    stream.reset()
    assert stream(frame, min_exit=-1).exit == 2
    assert stream.stats()["ungated"] == 2
    with pytest.raises(UsageError, match="deadline_ms"):
        stream(frame, deadline_ms=0)
    with pytest.raises(UsageError, match="min_exit"):
        stream(frame, min_exit=3)


def test_stream_gap_in_time_restarts(model: ee.Model) -> None:
    stream = model.stream()
    stream(image(1, 2.0), time_s=10.0)
    assert not stream(image(1, 2.0), time_s=12.0).restarted
    assert stream(image(1, 2.0), time_s=14.5).restarted
    assert stream(image(1, 2.0), time_s=3.0).restarted
    assert stream.stats()["restarts"] == 2


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), "1", [1.0]])
def test_stream_invalid_time_is_refused(model: ee.Model, time_s: Any) -> None:
    with pytest.raises(UsageError, match="time_s must be a finite number"):
        model.stream()(image(0, 1.0), time_s=time_s)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"point": "balanced"}, "unknown operating point of streams 'balanced'"),
        ({"point": 3}, "unknown operating point of streams 3"),
        ({"point": "stream-balanced", "policy": POLICY}, "an operating point or a policy"),
        ({"policy": {"epsilon": 0.1}}, "must be a StreamPolicy"),
        ({"policy": StreamPolicy(0.0, (0.9, 0.9))}, "epsilon: must lie in"),
        ({"policy": StreamPolicy(0.1, (0.9,))}, "thresholds: 1; one per early exit"),
        ({"policy": StreamPolicy("a", (0.9, 0.9))}, "policy: "),
        ({"policy": POLICY, "base_rates": [0.5, 0.5]}, "base_rates: 2; one per class"),
        ({"policy": POLICY, "base_rates": "rates"}, "base_rates must be numbers"),
        ({"policy": POLICY, "period_s": 0}, "period_s must be a positive number"),
        ({"base_rates": RATES}, "with a policy only"),
    ],
    ids=str,
)
def test_stream_invalid_arguments_are_refused(model: ee.Model, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.stream(**arguments)


def test_stream_without_policies_in_the_bundle_is_refused(tiny_bundle: Path) -> None:
    model = ee.load(tiny_bundle)
    with pytest.raises(UsageError, match="this bundle has no policy for streams"):
        model.stream()
    with pytest.raises(UsageError, match="needs base_rates"):
        model.stream(policy=POLICY)


def test_stream_policy_of_the_application_takes_rates_of_the_bundle(model: ee.Model) -> None:
    stream = model.stream(policy=POLICY)
    assert (stream.point, stream.stats()["period_s"]) == (None, 0.5)


def test_scripted_model_has_the_streams_of_a_bundle(model: ee.Model) -> None:
    copy = scripted([ScriptedAnswer(LABELS[1])], like=model.bundle)
    assert copy.stream().point == "stream-balanced"
    assert copy.stream()(image(0, 1.0)).label == LABELS[1]


def test_stream_takes_views_of_a_picture(model: ee.Model) -> None:
    rule = Preprocess(1 / 255, (0.0,), (1.0,), Resize())
    views = tuple(Input(f"x{side}", "float32", ("batch", 1, side, side), rule, picture="image") for side in (4, 8))
    like = ee.Bundle(Path("views.eebundle"), Manifest(**{**vars(model.bundle.manifest), "inputs": views}))
    script = [ScriptedAnswer(LABELS[2]), ScriptedAnswer(LABELS[2], exit=2)]
    copy = scripted(script, like=like)
    frame = copy.preprocess(np.zeros((10, 10, 1), np.uint8))
    assert not isinstance(frame["x8"], np.ndarray)  # it is made when a component reads it
    assert copy.stream()(frame).label == LABELS[2]


@pytest.mark.skipif(not HAS_LITERT, reason="LiteRT is not installed")
@pytest.mark.parametrize("shared", [False, True], ids=["files", "shared file"])
def test_stream_litert_equals_single_answers(tmp_path: Path, shared: bool) -> None:
    model = ee.load(write_litert_bundle(tmp_path, shared=shared))
    stream = model.stream(policy=StreamPolicy(1.0, ()), base_rates=[1 / 3] * 3)
    for _ in range(3):
        result = stream(INPUTS)
        np.testing.assert_array_equal(result.logits, model(INPUTS).logits)
