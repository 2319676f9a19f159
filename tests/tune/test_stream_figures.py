"""Figures of answers on sequences: reaction, false switches, cost and intervals by group."""

import numpy as np
import pytest

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.moving_average import AveragePolicy, simulate_average
from eetool.tune.stream_figures import (
    Frames,
    checked_frames,
    false_switches_per_minute,
    frame_costs,
    group_interval,
    mean_costs,
    percentile_s,
    reactions_s,
    segment_standard_errors,
)
from eetool.tune.stream_simulation import simulate
from eetool_runtime.manifest import StreamPolicy
from tests.helpers.frame_streams import EXITS, frames

COSTS = CascadeCosts((1.0, 2.0, 4.0), (0.1, 0.2))


def of_labels(labels: list[int], starts: list[int] = [0]) -> Frames:  # noqa: B006 - never changed
    n = len(labels)
    return Frames(np.zeros((n, 1, 2)), np.array(labels), np.isin(np.arange(n), starts), np.zeros(n, int), 0.5)


def test_reactions_count_from_the_change_to_the_first_right_answer() -> None:
    given = of_labels([0, 0, 1, 1, 1, 0, 0, 0])
    answers = np.array([0, 0, 0, 0, 1, 1, 0, 0])
    assert reactions_s(given, answers).tolist() == [1.0, 0.5]
    assert reactions_s(given, given.labels).tolist() == [0.0, 0.0]


def test_reactions_without_a_right_answer_last_until_the_next_change() -> None:
    given = of_labels([0, 1, 1, 1, 0, 0])
    assert reactions_s(given, np.zeros(6, int)).tolist() == [1.5, 0.0]


def test_reactions_at_the_beginning_of_a_sequence_are_none() -> None:
    given = of_labels([0, 0, 1, 1], starts=[0, 2])
    assert reactions_s(given, given.labels).tolist() == []
    assert percentile_s(reactions_s(given, given.labels)) == 0


def test_percentile_margin_is_at_least_the_percentile() -> None:
    seconds = np.arange(40.0)
    assert percentile_s(seconds) < percentile_s(seconds, 1.0) <= 39


def test_false_switches_are_changes_to_a_wrong_class() -> None:
    given = of_labels([0, 0, 0, 0, 1, 1, 1, 1])
    answers = np.array([0, 1, 0, 0, 0, 1, 1, 0])
    assert false_switches_per_minute(given, answers) == pytest.approx(60 * 2 / (8 * 0.5))


def test_frame_costs_are_those_of_everything_that_ran() -> None:
    given = frames(groups=1, n=4)
    exits = np.array([0, 1, 2, 2])
    gated = frame_costs(StreamPolicy(0.1, (0.9, 0.9)), given, exits, COSTS)
    assert gated.tolist() == pytest.approx([1.1, 3.3, 7.3, 7.3])
    second = frame_costs(StreamPolicy(0.1, (None, 0.9)), given, np.array([1, 2, 2, 2]), COSTS)
    assert second.tolist() == pytest.approx([3.2, 7.2, 7.2, 7.2])
    compared = StreamPolicy(1.0, (None, None), skip_distance=0.1)
    assert frame_costs(compared, given, np.array([0, 2, 2, 2]), COSTS).tolist() == pytest.approx([1.1, 7.1, 7.1, 7.1])


@pytest.mark.parametrize("check", [1, 2, 3, 7])
def test_checked_frames_are_those_that_the_simulation_sent_to_the_final_exit(check: int) -> None:
    given, rates = frames(groups=3, n=50), np.full(3, 1 / 3)
    policy = StreamPolicy(0.05, (0.5, 0.5), agree=False, check_every=check)
    exits = simulate([policy], given.probabilities, given.starts, rates).exits[0]
    checked = checked_frames(policy, given, exits)
    early = 0
    for i in range(len(exits)):
        early = 0 if given.starts[i] else early
        assert checked[i] == (early + 1 >= check)
        early = 0 if exits[i] == EXITS - 1 else early + 1
    assert (exits[checked] == EXITS - 1).all()


def test_group_interval_of_equal_answers_is_zero_and_widens_with_differences_between_groups() -> None:
    groups = np.repeat(np.arange(6), 50)
    right = np.ones(300)
    assert group_interval(groups, right, right) == (0, 0)
    alike, apart = right.copy(), right.copy()
    alike[::10] = 0
    apart[groups == 0] = 0
    spans = [np.subtract(*group_interval(groups, one, right)[::-1]) for one in (alike, apart)]
    assert spans[0] < 0.01 < spans[1]


def test_segment_standard_errors_count_segments_not_frames() -> None:
    given = frames(groups=4)
    full = np.ones(len(given.labels), bool)
    scattered, together = full.copy(), full.copy()
    scattered[::20], together[:40] = False, False
    one, other = segment_standard_errors(given, np.stack([scattered, together]), full)
    assert one < other


def test_moving_average_of_weight_one_is_gates_per_frame() -> None:
    given, rates = frames(), np.full(3, 1 / 3)
    average = AveragePolicy(1.0, (0.8, 0.8))
    gates = StreamPolicy(1.0, (0.8, 0.8), agree=False)
    own = simulate_average([average], given.probabilities, given.starts, rates)
    other = simulate([gates], given.probabilities, given.starts, rates)
    assert np.array_equal(own.exits, other.exits)
    assert np.array_equal(own.labels, other.labels)
    assert mean_costs([average], given, own.exits, COSTS) == mean_costs([gates], given, other.exits, COSTS)
