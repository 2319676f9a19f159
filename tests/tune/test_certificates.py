"""Certificates: the promise is exact, is kept, and is refused where the data cannot support it."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import multinomial

from eetool.errors import BudgetError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds
from eetool.tune.certificates import certify, examples_needed, least_promise, p_value
from eetool.tune.cross_fitting import LabelledLogits, calibrate
from eetool.tune.operating_points import CertificateGoal, certified_point
from eetool.tune.threshold_search import ThresholdProblem, descending_choices

COSTS = CascadeCosts((1.0, 9.0), (0.5,))


@pytest.mark.parametrize("risk", [0.05, 0.2])
def test_p_value_larger_true_drop_is_rarely_small(risk: float) -> None:
    """Every outcome of 30 inputs with its exact probability, in worlds whose drop is `risk` or more."""
    n = 30
    outcomes = [(i, j) for i in range(n + 1) for j in range(n + 1 - i)]
    values = np.array([p_value(i, j, n, risk) for i, j in outcomes])
    for drop, better in product((risk, risk + 0.1), (0.0, 0.01, 0.05, 0.15, 0.3)):
        shares = [drop + better, better, 1 - drop - 2 * better]
        chances = np.array([multinomial.pmf([i, j, n - i - j], n, shares) for i, j in outcomes])
        assert chances.sum() == pytest.approx(1)
        for level in (0.01, 0.05, 0.1, 0.3):
            assert chances[values <= level].sum() <= level


def test_p_value_no_better_input_is_the_binomial_test_plus_the_nuisance_error() -> None:
    assert p_value(0, 0, 300, 0.01) == pytest.approx(0.99**300, abs=0.005)
    assert p_value(0, 0, 300, 0.01) >= 0.99**300


@pytest.mark.parametrize("n", [30, 500])
def test_least_promise_is_what_harmless_examples_just_prove(n: int) -> None:
    points = least_promise(n, 0.95)
    assert p_value(0, 0, n, points / 100 + 1e-3) <= 0.05 < p_value(0, 0, n, points / 100 - 1e-3)
    assert points == pytest.approx(100 * (1 - 0.05 ** (1 / n)), rel=0.05)


def test_least_promise_too_few_examples_is_everything() -> None:
    assert least_promise(0, 0.95) == 100.0


def test_p_value_grows_with_harm_and_falls_with_data() -> None:
    values = [p_value(worse, 5, 1000, 0.02) for worse in range(0, 30, 3)]
    assert values == sorted(values)
    assert p_value(25, 5, 1000, 0.02) == 1.0
    assert p_value(10, 5, 2000, 0.02) < p_value(5, 2, 1000, 0.02)


def drawn(random: np.random.Generator, n: int, worse: float) -> ThresholdProblem:
    """One early exit that never helps: the lower the threshold, the more it harms, up to a share `worse`."""
    sure = random.random((1, n)).astype(np.float32)
    harmed = random.random(n) < worse
    correct = np.stack([~harmed, np.ones(n, bool)])
    return ThresholdProblem(np.concatenate([sure, np.ones((1, n), np.float32)]), correct, COSTS)


CANDIDATES: list[Thresholds] = [(float(t),) for t in np.linspace(0.95, 0.05, 10)]


def test_certify_promise_fails_in_at_most_the_promised_share() -> None:
    """Leaving at threshold t harms 0.06 (1 − t) of all inputs; a drop of 2 points is promised with 90 %."""
    random = np.random.default_rng(1)
    broken = certified = 0
    for _ in range(400):
        found = certify(drawn(random, 600, 0.06), CANDIDATES, 2.0, 0.9)
        if found.thresholds is not None and found.thresholds[0] is not None:
            certified += 1
            broken += 0.06 * (1 - found.thresholds[0]) > 0.02
    assert certified > 300, "a test that never certifies anything would keep every promise"
    assert 0.02 * 400 < broken <= 0.1 * 400 + 2 * np.sqrt(0.1 * 0.9 * 400)


def test_certify_returns_the_cheapest_before_the_first_failure() -> None:
    p = drawn(np.random.default_rng(2), 2000, 0.03)
    found = certify(p, CANDIDATES, 2.0, 0.95)
    assert found.thresholds is not None
    assert found.certificate is not None
    place = CANDIDATES.index(found.thresholds)
    values = [p_value(*p.changes(c), p.n, 0.02) for c in CANDIDATES]
    assert max(values[: place + 1]) <= 0.05 < values[place + 1]
    assert found.certificate.p_value == values[place]
    assert (found.certificate.worse, found.certificate.better) == p.changes(found.thresholds)


def test_certify_too_few_examples_returns_a_sufficient_number() -> None:
    p = drawn(np.random.default_rng(3), 150, 0.0)
    found = certify(p, CANDIDATES, 1.0, 0.95)
    assert (found.thresholds, found.certificate) == (None, None)
    assert found.n_needed is not None
    assert 298 <= found.n_needed < 450  # 0.99^298 = 0.05
    assert certify(drawn(np.random.default_rng(4), found.n_needed, 0.0), CANDIDATES, 1.0, 0.95).thresholds is not None


def test_examples_needed_false_promise_returns_none() -> None:
    assert examples_needed(30, 0, 1000, risk=0.02, error=0.05) is None


def test_certify_full_depth_alone_returns_no_thresholds() -> None:
    assert certify(drawn(np.random.default_rng(0), 5000, 0.0), [(None,)], 1.0, 0.95).thresholds is None


def test_descending_choices_go_from_the_safest_to_the_cheapest() -> None:
    p = drawn(np.random.default_rng(5), 1000, 0.2)
    figures = [p.evaluate(choice) for choice in descending_choices(p, 5.0, 12)]
    assert len(figures) > 5
    assert [errors for _, errors in figures] == sorted(errors for _, errors in figures)
    assert [cost for cost, _ in figures] == sorted((cost for cost, _ in figures), reverse=True)
    assert figures[-1][1] <= 50


def labelled(seed: int, n: int) -> LabelledLogits:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, n)
    signal = np.eye(4)[labels] * random.uniform(0, 8, (n, 1)) * np.arange(1, 3)[:, None, None]
    return LabelledLogits((signal + random.normal(0, 1, (2, n, 4))).astype(np.float32), labels)


def test_certified_point_saves_macs_and_small_split_raises_budget_error() -> None:
    calibration = calibrate(labelled(1, 500), "max_softmax")
    point = certified_point(calibration, labelled(2, 1500), labelled(3, 1500), COSTS, COSTS, CertificateGoal(4, 0.95))
    assert point.certificate is not None
    assert point.expected is not None
    assert (point.expected.split, point.expected.n) == ("certificate", 1500)
    assert point.expected.mean_macs < COSTS.leaving((None,))[-1]
    with pytest.raises(BudgetError, match="30 examples cannot prove a drop of at most 4") as refused:
        certified_point(calibration, labelled(2, 1500), labelled(3, 30), COSTS, COSTS, CertificateGoal(4, 0.95))
    assert "would, if they are like these" in (refused.value.hint or "")
