"""Statistics of streams: counters, reactions to changes of the class, and drift of frames that resemble each other."""

from __future__ import annotations

import json
import threading
from typing import Any, Optional

import numpy as np
import pytest

from eetool_runtime.errors import UsageError
from eetool_runtime.manifest import ReachedConfidence, StreamExpected, StreamPolicy
from eetool_runtime.stream_filter import NO_EXIT, FrameAnswer, StreamState
from eetool_runtime.stream_stats import Reactions, StreamStats, stream_drift
from eetool_runtime.testing import ScriptedAnswer, scripted

FRAME = np.zeros((1, 3, 32, 32), np.float32)
STATE = StreamState(np.array([1.0]), None, 0, None)


def reactions(truth: str, answers: str, step_s: Optional[float] = 0.5) -> dict[str, Any]:
    """Return the figures of classes and answers, a letter per frame; a dot is a frame without a right class."""
    counted, before = Reactions(), None
    for right, answer in zip(truth, answers):
        counted.add(None if right == "." else ord(right), ord(answer), step_s, before not in (None, answer))
        before = answer
    figures = counted.figures()
    assert figures is not None
    return figures


@pytest.mark.parametrize(
    ("truth", "answers", "changes", "missed", "mean_s", "false_switches"),
    [
        ("aaaa", "aaaa", 0, 0, None, 0),
        ("aabbbb", "aabbbb", 1, 0, 0.0, 0),
        ("aabbbb", "aaaabb", 1, 0, 1.0, 0),
        ("aabbbb", "aaacbb", 1, 0, 1.0, 1),
        ("aabbaa", "aaaaaa", 2, 1, 0.5, 0),  # b is missed after 1 s, a is answered at once
        ("aaaaaa", "abaaca", 0, 0, None, 2),
        ("bbaa", "aaaa", 1, 0, 0.0, 0),  # the first class is no change
        ("aab..bb", "aaaaaab", 1, 0, None, 0),  # what happened meanwhile is unknown
    ],
)
def test_reactions_of_sequences(
    truth: str, answers: str, changes: int, missed: int, mean_s: Optional[float], false_switches: int
) -> None:
    figures = reactions(truth, answers)
    assert (figures["changes"], figures["missed"], figures["mean_s"]) == (changes, missed, mean_s)
    assert figures["false_switches"] == false_switches


def test_reactions_change_that_the_end_of_a_sequence_cuts_off_is_missed() -> None:
    counted = Reactions()
    for truth in (0, 1, 1, 1):
        counted.add(truth, 0, 0.5, False)
    assert (counted.figures() or {})["missed"] == 0  # an answer may still follow
    counted.restart()
    counted.restart()
    figures = counted.figures() or {}
    assert (figures["changes"], figures["missed"], figures["mean_s"]) == (1, 1, 1.5)


def test_reactions_percentile_and_rates() -> None:
    figures = reactions("ab" + "b" * 9 + "a" * 10, "aabbbbbbbbb" + "bbbaaaaaaa")
    assert (figures["mean_s"], figures["accuracy"]) == (1.0, 17 / 21)
    assert figures["p95_s"] == pytest.approx(1.45)
    flicker = reactions("a" * 121, "ab" + "a" * 119)
    assert flicker["false_switches_per_minute"] == pytest.approx(1.0)


def test_reactions_without_times_have_counts_only() -> None:
    figures = reactions("aabbb", "aaabb", None)
    assert (figures["changes"], figures["mean_s"], figures["false_switches_per_minute"]) == (1, None, None)


def answer(label: int, raw: Optional[int], exit_index: int = 0, **flags: bool) -> FrameAnswer:
    evidence = exit_index if raw is not None else NO_EXIT
    known = {"gated": True, "skipped": False, "restarted": False, **flags}
    return FrameAnswer(exit_index, label, raw, evidence, **known, state=STATE)


def test_snapshot_counts_every_kind_of_frame() -> None:
    stats = StreamStats(3, 1000, None)
    for given in (
        answer(0, 0),
        answer(0, 1, 2),  # held
        answer(1, 1, 1),  # a switch
        answer(1, None, NO_EXIT),
        answer(1, 1, 0, skipped=True),
        answer(1, 1, 0, gated=False),
        answer(0, 0, 0, restarted=True),  # no switch: another sequence
    ):
        stats.record(given, 100, 2.0, False, [], 0.5, None)
    figures = stats.snapshot()
    assert json.loads(json.dumps(figures)) == figures
    names = ("frames", "held", "switches", "without_evidence", "skipped", "ungated", "restarts", "overruns")
    assert [figures[name] for name in names] == [7, 1, 1, 1, 1, 1, 1, 0]
    assert figures["exit_counts"] == [4, 1, 1]
    assert figures["switches_per_minute"] == pytest.approx(60 / 2.5)
    assert (figures["mean_macs"], figures["compute_saved"]) == (100, 0.9)
    assert (figures["reaction"], figures["drift"]) == (None, None)


def test_snapshot_before_the_first_frame_has_no_figures() -> None:
    figures = StreamStats(2, 1000, None).snapshot()
    names = ("exit_shares", "held_share", "switches_per_minute", "mean_macs", "latency_ms", "reaction")
    assert all(figures[name] is None for name in names)


def test_snapshot_window_is_in_order_of_time() -> None:
    recorded = ReachedConfidence(5000, 0.5, 0.29)
    expected = StreamExpected("test", 5000, 10, 0.9, (1.0,), 1.0, (recorded,))
    stats, values = StreamStats(1, 1, expected), np.random.default_rng(0).random(3500)
    for value in values:
        stats.record(answer(0, 0), 1, 1.0, False, [(0, float(value))], 0.5, None)
    (drift,) = stats.snapshot()["drift"]
    (alone,) = stream_drift(values[-2000:, None].astype(np.float32), [recorded])
    assert drift == alone
    assert drift["n"] == 2000


def test_stats_while_frames_are_answered_are_consistent() -> None:
    stream = scripted([ScriptedAnswer("a"), ScriptedAnswer("b")]).stream(
        policy=StreamPolicy(0.5, (0.9, 0.9)), base_rates=[0.5, 0.5], period_s=0.1
    )
    wrong: list[dict[str, Any]] = []

    def watch() -> None:
        for _ in range(200):
            figures = stream.stats()
            if sum(figures["exit_counts"]) != figures["frames"]:
                wrong.append(figures)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(200):
        stream(FRAME)
    watcher.join()
    assert not wrong


def test_stream_true_labels_give_reactions() -> None:
    script = [ScriptedAnswer(name, logits=logits) for name, logits in (("a", (2.0, 0.0)), ("b", (0.0, 2.0)))]
    stream = scripted([script[0]] * 4 + [script[1]] * 4).stream(
        policy=StreamPolicy(0.01, (None, None)), base_rates=[0.5, 0.5], period_s=0.5
    )
    labels = [stream(FRAME, true_label="a" if n < 4 else "b").label for n in range(8)]
    assert labels == ["a"] * 6 + ["b"] * 2
    reaction = stream.stats()["reaction"]
    assert (reaction["mean_s"], reaction["accuracy"], reaction["changes"]) == (1.0, 0.75, 1)
    with pytest.raises(UsageError, match="no class of this model"):
        stream(FRAME, true_label="c")


def series(correlation: float, mean: float, n: int, seed: int) -> np.ndarray:
    """Return an autoregressive series (n, 1) around `mean`."""
    rng, values = np.random.default_rng(seed), np.zeros(n)
    for i in range(1, n):
        values[i] = correlation * values[i - 1] + np.sqrt(1 - correlation**2) * rng.normal()
    return (mean + 0.1 * values)[:, None]


def test_stream_drift_of_correlated_frames_keeps_its_level() -> None:
    """Of 200 streams without drift, the test of independent frames finds drift in more than half."""
    recorded = ReachedConfidence(100_000, 0.6, 0.1)
    tests = [stream_drift(series(0.9, 0.6, 2000, seed), [recorded])[0] for seed in range(200)]
    found = [test for test in tests if test is not None]
    assert len(found) == 200
    assert np.mean([test["p"] < 0.05 for test in found]) < 0.1
    assert all(60 < test["independent"] < 180 for test in found)
    naive = [abs(test["mean"] - 0.6) / (0.1 / np.sqrt(test["n"])) > 1.96 for test in found]
    assert np.mean(naive) > 0.5


def test_stream_drift_finds_a_change() -> None:
    (test,) = stream_drift(series(0.5, 0.5, 2000, 0), [ReachedConfidence(1000, 0.6, 0.1)])
    assert test is not None
    assert test["p"] < 1e-6
    assert test["z"] < 0


@pytest.mark.parametrize("values", [np.full((29, 1), 0.5), np.full((100, 1), 0.5), np.full((100, 1), np.nan)])
def test_stream_drift_of_too_little_is_none(values: np.ndarray) -> None:
    assert stream_drift(values, [ReachedConfidence(100, 0.6, 0.1)]) == [None]


def test_stream_drift_of_an_exit_without_figures_is_none() -> None:
    assert stream_drift(series(0.5, 0.5, 100, 0), [None]) == [None]
