"""Verdict: its conditions, its text and its three outcomes."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool.bench.intervals import examples_for
from eetool.bench.verdict import MeasuredNet, Verdict, decide_verdict

N = 2000
STEADY = np.ones(7)


def net(name: str, right: int, ms: float, noise: Sequence[float] = STEADY, n: int = N) -> MeasuredNet:
    """Return a network that is right on the first `right` inputs and takes about `ms` for each."""
    latency_ms = ms * np.linspace(0.98, 1.02, n)
    return MeasuredNet(name, np.arange(n) < right, latency_ms, ms * np.asarray(noise))


def verdict(point: MeasuredNet, against: Sequence[MeasuredNet] = (), limit: float = 1.0) -> Verdict:
    return decide_verdict(point, net("unsplit", 1960, 1.0, n=len(point.right)), against, limit, seed=0)


NOISY = (0.4, 1.6, 0.5, 1.5, 0.6, 1.4, 1.0)


@pytest.mark.parametrize(
    ("point", "against", "pays", "reason"),
    [
        (net("fast", 1955, 0.5), [], True, "fast takes 0.50 of the mean latency of unsplit (95 % interval 0.50 to 0.5"),
        (net("fast", 1999, 0.5), [], True, "(+1.95 points, +1."),
        (net("fast", 1955, 1.3), [], False, "no faster than unsplit, as the interval begins at 1."),
        (net("fast", 1955, 1.0, NOISY), [], None, "may be no faster than unsplit"),
        (net("fast", 1955, 1.0, NOISY), [], None, "What would decide it: more passes than 7, or a quieter machine."),
        (net("fast", 1900, 0.5), [], False, "loses 3.00 percentage points of accuracy, where 1 are allowed"),
        (net("fast", 1945, 0.5), [], None, "may lose 1."),
        (net("fast", 1945, 0.5), [], None, "examples instead of 2000"),
        (net("fast", 1955, 0.5), [net("small", 1956, 0.4)], False, "small is at least as accurate and at least as"),
        (net("fast", 1955, 0.5), [net("small", 1999, 0.1)], False, "small is at least as accurate and at least as"),
        (net("fast", 1955, 0.5), [net("small", 1953, 0.1)], None, "small may be at least as accurate"),
        (net("fast", 1955, 0.5), [net("small", 1800, 0.1)], True, "small is not both as accurate and as fast"),
        (net("fast", 1955, 0.5), [net("small", 1999, 0.6)], True, "small is not both as accurate and as fast"),
        (net("fast", 1955, 0.5), [net("a", 1800, 0.1), net("b", 1960, 0.2)], False, "b is at least as accurate"),
        (net("fast", 1955, 0.5), [net("a", 1800, 0.1), net("b", 1800, 0.2)], True, "None of a, b is both"),
    ],
)
def test_decide_verdict_conditions_give_outcome_and_reason(
    point: MeasuredNet, against: list[MeasuredNet], pays: bool | None, reason: str
) -> None:
    outcome = verdict(point, against)
    assert outcome.pays is pays
    assert outcome.text.startswith(f"{outcome.headline}: ")
    assert reason in outcome.text


def test_decide_verdict_few_examples_asks_for_more() -> None:
    """Ninety examples without a lost one: the interval of ±3 points does not exclude a loss of 1.

    Without disagreements the interval is ±277 / (n + 2) points.
    """
    few = MeasuredNet("fast", np.ones(90, bool), np.full(90, 0.5), 0.5 * STEADY)
    unsplit = MeasuredNet("unsplit", np.ones(90, bool), np.ones(90), STEADY)
    outcome = decide_verdict(few, unsplit, [], 1.0, seed=0)
    assert outcome.pays is None
    assert "about 280 examples instead of 90" in outcome.text
    assert (outcome.latency_ratio, outcome.accuracy_difference) == (0.5, 0.0)


def test_decide_verdict_examples_asked_for_decide_it() -> None:
    """The count that the verdict asks for is enough where the shares stay as they are."""
    point, unsplit = net("fast", 1945, 0.5), net("unsplit", 1960, 1.0)
    needed = int(examples_for(point.right, unsplit.right, 0.25))
    scale = needed / N
    more = net("fast", round(1945 * scale), 0.5, n=needed)
    outcome = decide_verdict(more, net("unsplit", round(1960 * scale), 1.0, n=needed), [], 1.0, seed=0)
    assert outcome.pays is True


def test_decide_verdict_several_reasons_names_all() -> None:
    unsplit = net("unsplit", 1960, 1.0)
    text = decide_verdict(net("fast", 1000, 2.0), unsplit, [unsplit], 1.0, seed=0).text
    assert "48.00 percentage points" in text
    assert "no faster than unsplit" in text
    assert "unsplit is at least as accurate" in text


counts = st.integers(0, 300)
times = st.floats(0.01, 10)


@settings(max_examples=25)
@given(counts, counts, times, st.lists(st.tuples(counts, times), max_size=2), st.floats(0, 5))
def test_decide_verdict_firm_outcomes_agree_with_the_estimates(
    right: int, unsplit_right: int, ms: float, nets: list[tuple[int, float]], limit: float
) -> None:
    """Neither "pays" nor "does not pay" contradicts what the counts and mean latencies say themselves."""
    against = [net(f"net{i}", correct, net_ms, n=300) for i, (correct, net_ms) in enumerate(nets)]
    point, unsplit = net("fast", right, ms, n=300), net("unsplit", unsplit_right, 1.0, n=300)
    outcome = decide_verdict(point, unsplit, against, limit, seed=0)
    lost = 100 * (unsplit_right - right) / 300
    holds = ms < 1 and lost <= limit and not any(c >= right and t <= ms for c, t in nets)
    assert outcome.pays in (holds, None)
