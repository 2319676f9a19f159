"""The rule of streams: the worked numbers of docs/streams.md, and what must hold for any numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool_runtime.manifest import StreamPolicy
from eetool_runtime.stream_filter import NO_EXIT, FrameAnswer, StreamFilter, StreamState, calibrated, distance

ROOT = Path(__file__).parents[3]
CASES = json.loads((ROOT / "tests/helpers/streams_golden.json").read_text(encoding="utf-8"))["cases"]
RATES = np.array([0.5, 0.3, 0.2])
SURE = np.array([0.98, 0.01, 0.01])


def policy_of(case: dict[str, Any]) -> StreamPolicy:
    return StreamPolicy(**{**case["policy"], "thresholds": tuple(case["policy"]["thresholds"])})


def step(rule: StreamFilter, state: StreamState, frame: dict[str, Any], temperatures: list[float]) -> FrameAnswer:
    def run_exits(full_depth: bool) -> Any:
        if frame["logits"] is None:
            return
        last = frame.get("last_exit")
        for k in rule.exits(full_depth) if last is None else range(last + 1):
            logits = frame["logits"][k] or [np.nan] * len(rule.base_rates)
            yield k, calibrated(np.array(logits, np.float32), temperatures[k])

    return rule.step(state, run_exits, frame.get("time_s"))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_step_repeats_golden_decisions(case: dict[str, Any]) -> None:
    rule = StreamFilter(policy_of(case), np.array(case["base_rates"]))
    state = rule.start
    for frame in case["frames"]:
        answer = step(rule, state, frame, case["temperatures"])
        expected = dict(frame["expected"])
        np.testing.assert_allclose(answer.state.posterior, expected.pop("posterior"), atol=1e-6)
        assert {name: getattr(answer, name) for name in expected} == expected
        state = answer.state


def test_golden_cases_have_every_kind_of_answer() -> None:
    answers = [frame["expected"] for case in CASES for frame in case["frames"]]
    for name in ("skipped", "restarted"):
        assert any(answer[name] for answer in answers)
    assert not all(answer["gated"] for answer in answers)
    assert {answer["exit"] for answer in answers} == {-1, 0, 1, 2}
    assert any(answer["raw_label"] not in (None, answer["label"]) for answer in answers)


def run(rule: StreamFilter, state: StreamState, *exits: Optional[np.ndarray], time_s: Any = None) -> FrameAnswer:
    """Answer a frame whose exits have these probabilities; exits that the rule does not need are not given."""
    return rule.step(state, lambda full: [(k, exits[k]) for k in rule.exits(full)] if exits else [], time_s)


def test_step_first_frame_has_the_probabilities_of_its_exit() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (0.5,)), RATES)
    np.testing.assert_allclose(run(rule, rule.start, SURE, SURE).state.posterior, SURE)


def test_step_deeper_exit_replaces_evidence_of_earlier_one() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (None,)), RATES)
    both = StreamFilter(StreamPolicy(0.1, (2.0,)), RATES)
    other = np.array([0.2, 0.7, 0.1])
    deep, after_both = run(rule, rule.start, SURE, other), run(both, both.start, SURE, other)
    np.testing.assert_array_equal(deep.state.posterior, after_both.state.posterior)


def test_step_agree_wants_the_class_of_the_exit_itself() -> None:
    unsure = np.array([0.3, 0.5, 0.2])
    for agree, exit_index in ((True, 1), (False, 0)):
        rule = StreamFilter(StreamPolicy(0.01, (0.7,), agree=agree), RATES)
        state = run(rule, rule.start, SURE, SURE).state
        answer = run(rule, state, unsure, unsure)
        assert (answer.exit, answer.label, answer.raw_label) == (exit_index, 0, 1)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_step_check_runs_one_of_so_many_frames_to_the_final_exit(every: int) -> None:
    rule, exits = StreamFilter(StreamPolicy(0.1, (0.5,), check_every=every), RATES), []
    state = rule.start
    for _ in range(2 * every):
        answer = run(rule, state, SURE, SURE)
        exits.append(answer.exit)
        state = answer.state
    assert exits == 2 * [*[0] * (every - 1), 1]


def test_step_check_stays_due_until_the_final_exit_answered() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (0.5,), check_every=2), RATES)
    state = run(rule, rule.start, SURE, SURE).state
    late = rule.step(state, lambda _: [(0, SURE)])  # a deadline ends the frame before the final exit
    assert (late.exit, late.gated) == (0, False)
    assert run(rule, late.state, SURE, SURE).exit == 1


def test_step_same_scene_repeats_answer_and_posterior() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (2.0,), skip_distance=0.05), RATES)
    wrong, right, shift = np.array([0.6, 0.3, 0.1]), np.array([0.01, 0.98, 0.01]), np.array([1, -1, 0])
    first = run(rule, rule.start, wrong, right)
    second = run(rule, first.state, wrong + 0.02 * shift, right)
    assert (second.exit, second.label, second.raw_label, second.skipped) == (0, 1, 0, True)
    np.testing.assert_array_equal(second.state.posterior, first.state.posterior)
    third = run(rule, second.state, wrong + 0.06 * shift, right)  # 0.04 from the frame before
    assert (third.exit, third.skipped) == (1, False)


def test_step_scene_that_a_deadline_ended_is_not_repeated() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (2.0,), skip_distance=0.05), RATES)
    late = rule.step(rule.start, lambda _: [(0, SURE)])
    assert not late.gated
    assert not run(rule, late.state, SURE, SURE).skipped


@pytest.mark.parametrize(
    ("times", "restarted"),
    [((0.0, 2.0), False), ((0.0, 2.1), True), ((5.0, 4.9), True), ((0.0, None), False), ((None, 9.0), False)],
)
def test_step_gap_restarts(times: tuple[Any, Any], restarted: bool) -> None:
    rule = StreamFilter(StreamPolicy(0.1, (0.5,), gap_s=2.0), RATES)
    state = run(rule, rule.start, SURE, SURE, time_s=times[0]).state
    answer = run(rule, state, RATES, RATES, time_s=times[1])
    assert answer.restarted is restarted
    assert np.allclose(answer.state.posterior, RATES) is restarted


def test_step_frame_without_exits_is_answered_from_the_prior() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (0.5,)), RATES)
    state = run(rule, rule.start, SURE, SURE).state
    answer = run(rule, state)
    assert (answer.exit, answer.label, answer.raw_label, answer.gated) == (NO_EXIT, 0, None, True)
    np.testing.assert_allclose(answer.state.posterior, 0.9 * SURE + 0.1 * RATES)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_step_exit_that_is_not_finite_never_fires(bad: float) -> None:
    rule = StreamFilter(StreamPolicy(0.1, (0.0,), agree=False), RATES)
    own = np.array([bad, 0.5, 0.5])
    assert run(rule, rule.start, own, SURE).exit == 1
    both = run(rule, rule.start, own, own)
    assert (both.exit, both.evidence_exit, both.raw_label, both.gated) == (1, NO_EXIT, None, True)
    np.testing.assert_allclose(both.state.posterior, RATES)


def test_step_final_exit_not_finite_keeps_evidence_of_earlier_one() -> None:
    rule = StreamFilter(StreamPolicy(0.1, (2.0,), check_every=9), RATES)
    answer = run(rule, rule.start, SURE, np.full(3, np.nan))
    assert (answer.exit, answer.evidence_exit, answer.raw_label, answer.state.early_frames) == (1, 0, None, 1)
    np.testing.assert_allclose(answer.state.posterior, SURE)


@given(
    st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=1, max_size=30),
    st.floats(1e-6, 1),
)
def test_posterior_stays_a_distribution_and_never_forgets_a_class(frames: list[list[float]], epsilon: float) -> None:
    rule = StreamFilter(StreamPolicy(epsilon, ()), RATES)
    state = rule.start
    for logits in frames:
        state = run(rule, state, calibrated(np.array(logits, np.float32), 0.01)).state
        assert state.posterior.sum() == pytest.approx(1)
        assert (state.posterior >= 0).all()
    sure = [calibrated(row, 1.0) for row in 30 * np.eye(3, dtype=np.float32)]
    for own in sure:  # one sure frame is enough to change the class, whatever came before
        needed = 2 if epsilon < 1e-5 else 1
        for _ in range(needed):
            state = run(rule, state, own).state
        assert state.posterior.argmax() == own.argmax()


def test_calibrated_minus_infinity_is_a_probability_of_zero() -> None:
    np.testing.assert_allclose(calibrated(np.array([0, -np.inf, 0], np.float32), 2.0), [0.5, 0, 0.5])
    assert np.isnan(calibrated(np.array([0, np.inf, 0], np.float32), 2.0)).all()


def test_distance_of_opposite_distributions_is_one() -> None:
    assert distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1


def test_page_has_the_worked_numbers() -> None:
    text = (ROOT / "docs/streams.md").read_text(encoding="utf-8")
    (case,) = (case for case in CASES if case["name"] == "worked")
    for frame in case["frames"]:
        assert ", ".join(f"{p:.4f}" for p in frame["expected"]["posterior"]) in text
        for logits, temperature in zip(frame["logits"] or [], case["temperatures"]):
            own = calibrated(np.array(logits, np.float32), temperature)
            ran = temperature == 1.0 or frame["expected"]["exit"] == 1
            assert (", ".join(f"{q:.4f}" for q in own) in text) or not ran


def test_golden_file_is_that_of_the_tool() -> None:
    tool = pytest.importorskip("tools.write_streams_golden", reason="the repository is not at hand")
    assert tool.golden_text() == tool.GOLDEN.read_text(encoding="utf-8"), "run python -m tools.write_streams_golden"
