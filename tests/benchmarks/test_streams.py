"""Parts of `benchmarks/streams.py`: synthetic streams, sets of subjects, and the learned context policy."""

import sys
from pathlib import Path

import numpy as np
import pytest

from eetool.tune.stream_simulation import simulate
from eetool_runtime.manifest import StreamPolicy
from tests.helpers.frame_streams import frames

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
