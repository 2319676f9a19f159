"""The verdict on streams includes the reaction time."""

from dataclasses import replace

import pytest

from eetool.bench.stream_verdict import StreamClaim, judge_streams

GOOD = StreamClaim("stream-fast", 0.3, (0.28, 0.32), 0.5, (-0.4, 1.4), 4.0, 2)


def judge(claim: StreamClaim, *others: StreamClaim) -> bool | None:
    return judge_streams([claim], others, 1.0, 6.0).pays


@pytest.mark.parametrize(
    ("pays", "changes"),
    [
        (True, {}),
        (False, {"reaction_p95_s": 6.5}),
        (None, {"reaction_p95_s": None}),
        (False, {"ratio": 1.1, "ratio_ci95": (1.05, 1.15)}),
        (None, {"ratio_ci95": (0.2, 1.1)}),
        (False, {"difference": -3.0, "difference_ci95": (-4.0, -2.0)}),
        (None, {"difference_ci95": (-1.5, 2.0)}),
        (None, {"difference_ci95": (0.5, 0.5), "groups": 1}),
        (False, {"difference_ci95": (-3.0, -3.0), "groups": 1}),
    ],
)
def test_judge_streams_by_latency_accuracy_and_reaction(pays: bool | None, changes: dict[str, object]) -> None:
    assert judge(replace(GOOD, **changes)) is pays  # type: ignore[arg-type]


def test_judge_streams_names_faster_ways_that_keep_the_limits() -> None:
    faster, late = replace(GOOD, name="average", ratio=0.2), replace(GOOD, name="tardy", ratio=0.1, reaction_p95_s=9.0)
    verdict = judge_streams([GOOD], [faster, late], 1.0, 6.0)
    assert verdict.faster == ("average",)
    assert "average" in verdict.text
    assert "tardy" not in verdict.text


def test_judge_streams_prefers_a_point_that_pays() -> None:
    slower = replace(GOOD, name="stream-balanced", ratio=0.5, ratio_ci95=(0.45, 0.55))
    late = replace(GOOD, reaction_p95_s=9.0)
    assert judge_streams([late, slower], [], 1.0, 6.0).way == "stream-balanced"


def test_judge_streams_of_one_group_has_no_interval_of_accuracy() -> None:
    text = judge_streams([replace(GOOD, difference_ci95=(0.5, 0.5), groups=1)], [], 1.0, 6.0).text
    assert "+0.50 points" in text
    assert "one group" in text
