"""Verdict: its conditions, its text and its three outcomes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.bench.comparison import MeasuredWay
from eetool.bench.intervals import examples_for
from eetool.bench.verdict import Verdict, decide_verdict
from tests.helpers.measured_ways import NOISY, N, net, way


def verdict(points: Sequence[MeasuredWay], against: Sequence[MeasuredWay] = (), limit: float = 1.0) -> Verdict:
    reference = net("unsplit", 1960, 1.0, n=len(points[0].right))
    return decide_verdict([reference, *points, *against], reference, [p.name for p in points], limit)


@pytest.mark.parametrize(
    ("point", "against", "pays", "reason"),
    [
        (way("fast", 1955, 0.5), [], True, "fast is 50 % faster (50 to 50 %) than unsplit, at -0.25 points of acc"),
        (way("fast", 1999, 0.5), [], True, "at +1.95 points of accuracy (+1."),
        (way("fast", 1955, 1.3), [], False, "unsplit is 23 % faster (23 to 23 %) than fast, at +0.25 points"),
        (way("fast", 1955, 1.0, NOISY), [], None, "fast may be no faster than unsplit"),
        (way("fast", 1955, 1.0, NOISY), [], None, "What would decide it: more passes than 7, or a quieter machine."),
        (way("fast", 1900, 0.5), [], False, "fast loses 3.00 points of accuracy, where 1 may be lost"),
        (way("fast", 1945, 0.5), [], None, "fast may lose 1."),
        (way("fast", 1945, 0.5), [], None, "examples instead of 2000"),
        (way("fast", 1955, 0.5), [net("small", 1956, 0.4)], False, "small is 20 % faster (20 to 20 %) than fast"),
        (way("fast", 1955, 0.5), [net("small", 1999, 0.1)], False, "small is 80 % faster"),
        (way("fast", 1955, 0.5), [net("small", 1945, 0.1)], None, "small is faster and may keep the accuracy asked"),
        (way("fast", 1955, 0.5), [net("small", 1800, 0.1)], True, "fast is 50 % faster (50 to 50 %) than unsplit"),
        (way("fast", 1955, 0.5), [net("small", 1999, 0.6)], True, "fast is 17 % faster (17 to 17 %) than small"),
        (way("fast", 1955, 0.5), [net("small", 1999, 0.6)], True, "And fast is 50 % faster (50 to 50 %) than unsplit"),
        (way("fast", 1955, 0.5), [net("a", 1800, 0.1), net("b", 1960, 0.2)], False, "b is 60 % faster"),
        (way("fast", 1955, 0.5), [net("a", 1800, 0.1), net("b", 1800, 0.2)], True, "than unsplit, at"),
    ],
)
def test_decide_verdict_conditions_give_outcome_and_reason(
    point: MeasuredWay, against: list[MeasuredWay], pays: bool | None, reason: str
) -> None:
    outcome = verdict([point], against)
    assert outcome.pays is pays
    assert outcome.text.startswith(f"{outcome.headline}: ")
    assert reason in outcome.text
    assert " The front" in outcome.text


def test_decide_verdict_one_way_that_pays_is_enough() -> None:
    """fp32 early exit loses to int8 unsplit, and int8 early exit beats both."""
    points = [way("fp32 fast", 1955, 0.5), way("int8 fast", 1953, 0.3)]
    outcome = verdict(points, [net("int8 unsplit", 1958, 0.45)])
    assert (outcome.pays, outcome.way, outcome.against) == (True, "int8 fast", "int8 unsplit")
    assert outcome.latency_ratio == pytest.approx(0.3 / 0.45)
    assert "int8 fast is 33 % faster (33 to 33 %) than int8 unsplit, at -0.25 points" in outcome.text
    without = verdict(points[:1], [net("int8 unsplit", 1958, 0.45)])
    assert (without.pays, without.way) == (False, "fp32 fast")
    assert "int8 unsplit is 10 % faster (10 to 10 %) than fp32 fast, at +0.15 points" in without.text


def test_decide_verdict_lead_is_the_fastest_of_the_best_outcome() -> None:
    points = [way("slow", 1955, 0.6), way("quick", 1955, 0.5), way("open", 1945, 0.3), way("poor", 1500, 0.1)]
    assert verdict(points).way == "quick"
    assert verdict(points[2:]).way == "open"
    small = net("small", 1945, 0.05)  # may keep the accuracy asked for; "open" itself may not
    assert (verdict(points[1:3], [small]).way, verdict(points[1:3], [small]).pays) == ("quick", None)
    assert (verdict(points[3:]).way, verdict(points[3:]).pays) == ("poor", False)


def test_decide_verdict_few_examples_asks_for_more() -> None:
    """Ninety examples without a lost one: the interval of ±3 points does not exclude a loss of 1.

    Without disagreements the interval is ±277 / (n + 2) points.
    """
    reference, few = net("unsplit", 90, 1.0, n=90), way("fast", 90, 0.5, n=90)
    outcome = decide_verdict([reference, few], reference, ["fast"], 1.0)
    assert outcome.pays is None
    assert "about 280 examples instead of 90" in outcome.text
    assert (outcome.latency_ratio, outcome.accuracy_difference) == (pytest.approx(0.5), 0.0)


def test_decide_verdict_remedies_name_passes_once_and_one_count_of_examples() -> None:
    """Two static networks that may be faster, each at another difference of accuracy."""
    others = [net("a", 85, 0.9, NOISY, n=90), net("b", 83, 0.9, NOISY, n=90)]
    reference, point = net("unsplit", 86, 1.0, NOISY, n=90), way("fast", 86, 0.95, n=90)
    outcome = decide_verdict([reference, point, *others], reference, ["fast"], 1.0)
    assert outcome.pays is None
    assert len([remedy for remedy in outcome.remedies if "examples" in remedy]) == 1
    assert len([remedy for remedy in outcome.remedies if "passes" in remedy]) == 1
    assert f"What would decide it: {'; '.join(outcome.remedies)}." in outcome.text


def test_decide_verdict_examples_asked_for_decide_it() -> None:
    """The count that the verdict asks for is enough where the shares stay as they are."""
    point, unsplit = way("fast", 1945, 0.5), net("unsplit", 1960, 1.0)
    needed = int(examples_for(point.right, unsplit.right, 0.25))
    scale = needed / N
    reference, more = (
        net("unsplit", round(1960 * scale), 1.0, n=needed),
        way("fast", round(1945 * scale), 0.5, n=needed),
    )
    assert decide_verdict([reference, more], reference, ["fast"], 1.0).pays is True


def test_decide_verdict_few_timed_examples_asks_for_more_seconds() -> None:
    point = way("fast", 1955, 0.95)
    sampled = replace(point, latency=replace(point.latency, sampling=0.2))
    outcome = verdict([sampled])
    assert outcome.pays is None
    assert "What would decide it: more --min-seconds, to time more of the examples." in outcome.text


def test_decide_verdict_several_reasons_names_all() -> None:
    nets = [net(f"net{i}", 1990, 0.2 + 0.1 * i) for i in range(3)]
    text = verdict([way("fast", 1000, 2.0)], nets).text
    assert "48.00 points" in text
    assert "; and 3 more." in text
    assert "And fast is 100 % slower" in text


counts = st.integers(0, 300)
times = st.floats(0.01, 10)


@settings(max_examples=25)
@given(counts, counts, times, st.lists(st.tuples(counts, times), max_size=2), st.floats(0, 5))
def test_decide_verdict_firm_outcomes_agree_with_the_estimates(
    right: int, unsplit_right: int, ms: float, nets: list[tuple[int, float]], limit: float
) -> None:
    """Neither "pays" nor "does not pay" contradicts what the counts and mean latencies say themselves."""
    reference, point = net("unsplit", unsplit_right, 1.0, n=300), way("fast", right, ms, n=300)
    against = [net(f"net{i}", correct, net_ms, n=300) for i, (correct, net_ms) in enumerate(nets)]
    outcome = decide_verdict([reference, point, *against], reference, ["fast"], limit)
    keeps = [100 * (unsplit_right - other.right.sum()) / 300 <= limit + 1e-9 for other in (point, *against)]
    faster = [ms < other.latency.mean for other in against]
    holds = keeps[0] and ms < 1 and all(f or not k for f, k in zip(faster, keeps[1:], strict=True))
    assert outcome.pays in (bool(holds), None)
    assert np.isfinite(outcome.latency_ratio_ci95).all()
