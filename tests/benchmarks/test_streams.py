"""Parts of `benchmarks/streams.py`: streams, sets of subjects, choices, tables, and the learned context policy."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from eetool.bench.stream_timing import StreamTimes
from eetool.data.registry import load_source
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.moving_average import AveragePolicy
from eetool.tune.stream_simulation import simulate
from eetool_runtime.manifest import StreamPolicy
from tests.helpers.frame_streams import frames, stream_source

if TYPE_CHECKING:
    from stream_subjects import LeftOut

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def test_in_runs_uses_examples_once_and_changes_the_class_after_every_run() -> None:
    from stream_data import in_runs

    labels = np.repeat(np.arange(3), 40)
    order = in_runs(labels, lambda rng: 5, seed=0)
    assert len(set(order.tolist())) == len(order)
    runs = np.flatnonzero(np.diff(labels[order])) + 1
    assert len(order) > 60
    assert set(np.diff(runs).tolist()) == {5}


def test_streams_of_makes_one_group_of_every_sequence() -> None:
    from stream_data import geometric, streams_of

    labels = np.tile(np.arange(4), 50)
    streams = streams_of(np.arange(200), labels, 4, geometric(6), seed=1)
    assert np.array_equal(streams["labels"], labels[streams["inputs"]])
    assert np.array_equal(np.unique(streams["group"]), np.arange(4))


def test_decide_in_context_with_a_constant_threshold_is_the_filter() -> None:
    from stream_context import FEATURES, decide_in_context

    given, rates = frames(groups=2, n=80), np.array([0.2, 0.3, 0.5])
    policy = StreamPolicy(0.05, (0.9, None), agree=True)
    weights = np.zeros((1, FEATURES))
    weights[0, -1] = np.log(0.9 / 0.1)
    own = decide_in_context(weights, policy, given, rates)
    fixed = simulate([policy], given.probabilities, given.starts, rates)
    assert np.array_equal(own.exits, fixed.exits)
    assert np.array_equal(own.labels, fixed.labels)


def test_joined_frames_keep_groups_of_different_networks_apart() -> None:
    from stream_cases import joined

    both = joined([frames(groups=2, n=10), frames(groups=3, n=10, seed=1)])
    assert len(np.unique(both.groups)) == 5
    assert both.starts.sum() == 5


def recordings(path: Path) -> Path:
    """Two recordings of each of two classes by each of four subjects, 3 s long."""
    label, subject = np.tile([0, 0, 1, 1], 4), np.repeat([3, 5, 7, 9], 4)
    samples = np.random.default_rng(0).normal(size=(150 * 16, 6)).astype(np.float32)
    classes = np.array(["up", "down"])
    np.savez(path, samples=samples, length=np.full(16, 150), label=label, subject=subject, classes=classes)
    return path


def test_save_final_recordings_holds_out_one_recording_of_each_class_of_the_other_subjects(tmp_path: Path) -> None:
    from stream_data import save_final_recordings

    save_final_recordings(recordings(tmp_path / "all.npz"), tmp_path / "final.npz", np.array([5, 9]))
    with np.load(tmp_path / "final.npz") as saved:
        test, held_out, subject = saved["test"], saved["val"], saved["subject"]
        assert sorted(saved["label"][held_out].tolist()) == [0, 1]
    assert set(subject[test].tolist()) == {5, 9}
    assert not (test & held_out).any()
    assert set(subject[held_out].tolist()) == {10}
    source = load_source(f"signal:{tmp_path / 'final.npz'}@2/0.5")
    assert source.official_validation == 2 * 3
    assert source.official_test == 8 * 3


def left_out(accuracy: float, scale: float) -> "LeftOut":
    """Two exits that answer 300 windows of three subjects; the final one is right for a share of them."""
    from stream_subjects import LeftOut

    source = stream_source(groups=3, n=100)
    wrong = np.arange(300) % 100 >= 100 * accuracy
    logits = scale * np.eye(3)[(source.labels + wrong) % 3]
    return LeftOut(source, np.arange(300), np.stack([logits / 2, logits]))


def test_choose_recipe_and_temperatures_leave_the_reported_fold_out() -> None:
    from stream_subjects import choice_frames, choose_recipe

    folds = [(test, fold) for test in range(3) for fold in range(3) if test != fold]
    good, bad = left_out(0.9, 2.0), left_out(0.6, 2.0)
    recipes = {"a": {key: bad if key[0] == 0 else good for key in folds}, "b": dict.fromkeys(folds, left_out(0.7, 2.0))}
    assert [choose_recipe(recipes, test)["recipe"] for test in range(3)] == ["b", "a", "a"]
    assert choose_recipe(recipes, 0)["accuracy_of_others"] == pytest.approx({"a": 0.6, "b": 0.7})
    pairs = {**dict.fromkeys(folds, good), (1, 2): left_out(0.9, 8.0)}
    frames, temperatures = choice_frames(pairs, 0)
    assert len(frames.labels) == 600
    assert len(np.unique(frames.groups)) == 6
    assert choice_frames(pairs, 1)[1][1] > temperatures[1]


def test_policies_survive_storing() -> None:
    from stream_choice import as_data, from_data

    own = {"filter": StreamPolicy(0.1, (0.9, None), check_every=4), "average": AveragePolicy(0.3, (None, 0.8))}
    assert from_data(json.loads(json.dumps(as_data({"6": own})))) == {"6": own}


def test_front_marks_ways_that_none_surpasses_and_keeps_full_depth_once() -> None:
    from stream_tables import _front

    def row(accuracy: float, p95: float) -> dict[str, object]:
        figures = dict.fromkeys(
            ("accuracy_difference", "mac_ratio", "reaction_mean_s", "false_switches_per_minute"), 0.0
        )
        return {**figures, "accuracy": accuracy, "accuracy_difference_ci95": [0, 0], "reaction_p95_s": p95}

    kinds = {"full depth": row(0.9, 2.0), "filter": row(0.91, 4.0), "gates": row(0.89, 4.0)}
    ratios = {"full depth": {"ratio": 1.0}, "filter": {"ratio": 0.3}, "gates": {"ratio": 0.4}}
    part = {"fronts": {"4": kinds, "6": kinds}, "clock": {"ways": {"4": ratios, "6": ratios}}}
    rows = _front(part)
    assert [(cells[0], cells[2]) for cells in rows] == [("*", "full depth"), ("*", "filter"), ("", "gates")]


def test_movement_changes_keep_lengths_and_leave_windows_alone_in_eval_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS.parent / "examples/smartwatch"))
    monkeypatch.delitem(sys.modules, "network", raising=False)
    from network import MovementChanges, random_rotations, slowed

    torch.manual_seed(0)
    x = torch.randn(16, 40, 6)
    assert torch.equal(MovementChanges(True, 0.3, 0.3).eval()(x), x)
    turned = MovementChanges(True, 0.4, 0.0)(x)
    norms = [y.unflatten(2, (2, 3)).norm(dim=3) for y in (x, turned)]
    torch.testing.assert_close(norms[0], norms[1])
    assert set(torch.linalg.det(random_rotations(16, 0.4)).round().tolist()) == {1.0}
    line = torch.arange(40.0)[None, :, None, None].expand(1, 40, 2, 3)
    half = slowed(line, torch.tensor([0.5]))[0, :, :, 0]
    torch.testing.assert_close(half[:, 0].diff(), torch.full((39,), 0.5))
    torch.testing.assert_close(half[:, 1], half[:, 0] / 2)


class TimedCase:
    """Frames whose answers take 1 ms for each exit that they may leave at."""

    def __init__(self) -> None:
        self.test, self.base_rates = frames(groups=2, n=60), np.full(3, 1 / 3)
        self.asked: dict[str, StreamPolicy] = {}

    def time(self, policies: dict[str, StreamPolicy], passes: int, count: int | None) -> dict[str, StreamTimes]:
        self.asked = policies
        times = {}
        for name, policy in policies.items():
            decided = simulate([policy], self.test.probabilities, self.test.starts, self.base_rates)
            ms = 1.0 + sum(t is None for t in policy.thresholds)
            n = len(self.test.labels)
            times[name] = StreamTimes(decided.labels[0], decided.exits[0], np.full(n, ms), np.full(passes, ms))
        return times


def test_clocked_times_equal_policies_once_and_takes_full_depth_as_the_reference() -> None:
    from stream_clock import clocked

    full, gated = StreamPolicy(1.0, (None, None), agree=False), StreamPolicy(0.1, (0.8, 0.8))
    case, choice = TimedCase(), {limit: {"full depth": full, "filter": gated} for limit in ("2", "6")}
    result = clocked([case], [choice], passes=2)  # type: ignore[list-item]
    assert sorted(map(str, case.asked.values())) == sorted(map(str, (full, gated)))
    for limit in ("2", "6"):
        assert result["ways"][limit]["full depth"]["ratio"] == 1.0
        assert result["ways"][limit]["filter"]["ratio"] == pytest.approx(1 / 3)
        assert result["ways"][limit]["filter"]["same_answers"] == 1.0


def test_cut_networks_are_the_exits_alone_and_hindsight_keeps_its_limits() -> None:
    from stream_choice import cut_networks, in_hindsight

    given, costs = frames(groups=2, n=80), CascadeCosts((1.0, 2.0, 4.0), (0.1, 0.2))
    case = SimpleNamespace(test=given, base_rates=np.full(3, 1 / 3), costs=costs, full_macs=7.0)
    rows = cut_networks([case])  # type: ignore[list-item]
    right = (given.probabilities.argmax(2) == given.labels[:, None]).mean(0)
    assert [row["accuracy"] for row in rows.values()] == pytest.approx(right[:2].tolist())
    assert [row["mac_ratio"] for row in rows.values()] == pytest.approx([1.1 / 7, 3.2 / 7])
    chosen = in_hindsight([case], [8.0])["8"]["filter"]  # type: ignore[list-item]
    assert chosen["accuracy_difference"] >= 0
    assert chosen["reaction_p95_s"] <= 8
