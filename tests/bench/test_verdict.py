"""Verdict: its conditions, its text and the interval of the latency ratio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eetool.bench.verdict import ContenderSummary, decide_verdict, ratio_interval

UNSPLIT = ContenderSummary("unsplit", 0.98, 1.0)
POINT = ContenderSummary("balanced", 0.975, 0.5)
CLEARLY_FASTER = (0.48, 0.52)


@pytest.mark.parametrize(
    ("point", "against", "interval", "pays", "reason"),
    [
        (POINT, [], CLEARLY_FASTER, True, "balanced takes 0.50 of the mean latency"),
        (POINT, [], (0.9, 0.9999), True, "pays"),
        (POINT, [], (0.9, 1.0), False, "not significantly faster"),
        (POINT, [], (1.2, 1.3), False, "reaches 1.30"),
        (ContenderSummary("balanced", 0.97, 0.5), [], CLEARLY_FASTER, True, "pays"),
        (ContenderSummary("balanced", 0.9699, 0.5), [], CLEARLY_FASTER, False, "loses 1.01 percentage points"),
        (ContenderSummary("balanced", 0.999, 0.5), [], CLEARLY_FASTER, True, "pays"),
        (
            POINT,
            [ContenderSummary("small.onnx", 0.975, 0.5)],
            CLEARLY_FASTER,
            False,
            "small.onnx is at least as accurate",
        ),
        (
            POINT,
            [ContenderSummary("small.onnx", 0.99, 0.1)],
            CLEARLY_FASTER,
            False,
            "small.onnx is at least as accurate",
        ),
        (POINT, [ContenderSummary("small.onnx", 0.974, 0.1)], CLEARLY_FASTER, True, "small.onnx is not both"),
        (POINT, [ContenderSummary("small.onnx", 0.99, 0.51)], CLEARLY_FASTER, True, "small.onnx is not both"),
        (
            POINT,
            [ContenderSummary("a", 0.9, 0.1), ContenderSummary("b", 0.98, 0.2)],
            CLEARLY_FASTER,
            False,
            "b is at least as accurate",
        ),
        (
            POINT,
            [ContenderSummary("a", 0.9, 0.1), ContenderSummary("b", 0.9, 0.2)],
            CLEARLY_FASTER,
            True,
            "None of a, b is both",
        ),
    ],
)
def test_decide_verdict_conditions_give_verdict_and_reason(
    point: ContenderSummary, against: list[ContenderSummary], interval: tuple[float, float], pays: bool, reason: str
) -> None:
    verdict = decide_verdict(point, UNSPLIT, against, interval, 1.0)
    assert verdict.pays is pays
    assert verdict.text.startswith("Early exit pays" if pays else "Early exit does not pay")
    assert reason in verdict.text
    assert (verdict.point, verdict.latency_ratio_ci95) == ("balanced", interval)
    assert verdict.latency_ratio == pytest.approx(0.5)


def test_decide_verdict_several_reasons_names_all() -> None:
    text = decide_verdict(ContenderSummary("fast", 0.5, 2.0), UNSPLIT, [UNSPLIT], (1.9, 2.1), 1.0).text
    assert "48.00 percentage points" in text
    assert "not significantly faster" in text
    assert "unsplit is at least as accurate" in text


counts = st.integers(0, 540)
times = st.floats(0.01, 10)


@given(counts, counts, times, st.lists(st.tuples(counts, times), max_size=3), times, st.floats(0, 5))
def test_decide_verdict_pays_only_where_all_conditions_hold(
    right: int, unsplit_right: int, ms: float, nets: list[tuple[int, float]], upper: float, limit: float
) -> None:
    """The three conditions of the verdict, counted in inputs rather than in shares."""
    point, unsplit = (
        ContenderSummary("balanced", right / 540, ms),
        ContenderSummary("unsplit", unsplit_right / 540, 1.0),
    )
    against = [ContenderSummary(f"net{i}", correct / 540, net_ms) for i, (correct, net_ms) in enumerate(nets)]
    lost = 100 * (unsplit_right - right) / 540
    expected = upper < 1 and lost <= limit + 1e-9 and not any(c >= right and t <= ms for c, t in nets)
    assert decide_verdict(point, unsplit, against, (0.0, upper), limit).pays is expected


def test_ratio_interval_proportional_latencies_has_no_width() -> None:
    unsplit_ms = np.random.default_rng(0).lognormal(size=100)
    assert ratio_interval(0.5 * unsplit_ms, unsplit_ms, seed=0) == pytest.approx((0.5, 0.5))


def test_ratio_interval_single_input_returns_its_ratio() -> None:
    assert ratio_interval(np.array([0.5]), np.array([2.0]), seed=0) == (0.25, 0.25)


def test_ratio_interval_agrees_with_multinomial_resampling() -> None:
    """Each endpoint differs from that of another resampling by less than 5 % of the width."""
    rng = np.random.default_rng(0)
    point_ms, unsplit_ms = rng.lognormal(size=300), rng.lognormal(size=300)
    counts = rng.multinomial(300, np.full(300, 1 / 300), size=20_000)
    expected = np.percentile((counts @ point_ms) / (counts @ unsplit_ms), (2.5, 97.5))
    interval = ratio_interval(point_ms, unsplit_ms, seed=0)
    assert np.abs(np.array(interval) - expected).max() < 0.05 * np.ptp(expected)


def test_ratio_interval_depends_on_seed() -> None:
    draw = np.random.default_rng(0)
    point_ms, unsplit_ms = draw.lognormal(size=50), draw.lognormal(size=50)
    assert ratio_interval(point_ms, unsplit_ms, 1) == ratio_interval(point_ms, unsplit_ms, 1)
    assert ratio_interval(point_ms, unsplit_ms, 1) != ratio_interval(point_ms, unsplit_ms, 2)


def test_ratio_interval_covers_known_ratio() -> None:
    """Inputs leave early (0.3 ms) with probability 0.7, else late (1.2 ms): the true mean is 0.57 of 1 ms."""
    draw = np.random.default_rng(0)
    covered = []
    for seed in range(60):
        point_ms = np.where(draw.random(200) < 0.7, 0.3, 1.2)
        low, high = ratio_interval(point_ms, draw.normal(1, 0.02, 200), seed)
        assert low < high
        covered.append(low <= 0.57 <= high)
    assert np.mean(covered) >= 0.88
