"""Expected drops: those of new data in the mean, where the examples themselves show less."""

import numpy as np
import pytest

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.cross_fitting import CrossFit, LabelledLogits, threshold_problem
from eetool.tune.margin_search import MarginSearch

COSTS = CascadeCosts((1.0, 1.0, 4.0), (0.1, 0.1))


def drawn(random: np.random.Generator, n: int) -> LabelledLogits:
    """Logits of three exits that see the label through noise, less of it the deeper they are."""
    labels = random.integers(0, 3, n)
    signal = np.eye(3)[labels] * random.uniform(0, 5, (n, 1)) * np.array([0.8, 1.0, 1.2])[:, None, None]
    return LabelledLogits((signal + random.normal(0, 1, (3, n, 3))).astype(np.float32), labels)


def fast(search: MarginSearch) -> dict[str, tuple[float | None, ...]]:
    return {"fast": search.cheapest(2.0)}


def test_fit_expected_drop_is_that_of_new_data_in_the_mean() -> None:
    """Over 24 samples of 120 the examples show far too little, and the expected drop is right within its error."""
    random = np.random.default_rng(0)
    new, seen, expected, true = drawn(random, 5000), [], [], []
    for _ in range(24):
        fit = CrossFit(drawn(random, 120), COSTS, "max_softmax", "temperature", 1.0)
        thresholds, drop = fit.fit(fast)["fast"]
        problem = threshold_problem(fit.calibration, new, COSTS, "max_softmax")
        true.append(100 * problem.evaluate(thresholds)[1] / problem.n)
        expected.append(drop.points)
        seen.append(drop.points - drop.optimism)
        assert drop.ci95[0] <= drop.points <= drop.ci95[1]
    errors = np.array(expected) - np.array(true)
    assert abs(errors.mean()) < 2.5 * errors.std() / np.sqrt(len(errors))
    assert np.mean(seen) < np.mean(true) - 0.5, "choosing on the examples is optimistic, or this test shows nothing"


def test_fit_interval_holds_the_expected_drop_and_all_full_depth_repetitions_show_no_optimism() -> None:
    held = drawn(np.random.default_rng(5), 120)
    fit = CrossFit(held, COSTS, "max_softmax", "temperature", 1.0)
    for limit in (0.5, 2.0, 8.0):
        _, drop = fit.fit(lambda search, limit=limit: {"any": search.cheapest(limit)})["any"]
        assert drop.ci95[0] <= drop.points <= drop.ci95[1]
    fixed = (0.9, 0.9)
    _, drop = fit.fit(lambda search: {"any": fixed})["any"]
    assert drop.optimism == pytest.approx(0, abs=0.3), "what is not chosen is not optimistic, but for temperatures"


def test_fit_same_examples_give_the_same_numbers() -> None:
    held = drawn(np.random.default_rng(1), 60)
    results = [CrossFit(held, COSTS, "max_softmax", "temperature", 1.0).fit(fast) for _ in range(2)]
    assert results[0] == results[1]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_fit_hardly_any_examples_gives_an_interval(n: int) -> None:
    fit = CrossFit(drawn(np.random.default_rng(2), n), COSTS, "max_softmax", "temperature", 1.0)
    _, drop = fit.fit(fast)["fast"]
    assert -100 <= drop.ci95[0] <= drop.ci95[1] <= 100


def test_fit_full_depth_loses_nothing_against_itself() -> None:
    fit = CrossFit(drawn(np.random.default_rng(3), 50), COSTS, "max_softmax", "temperature", 1.0)
    _, drop = fit.fit(lambda search: {"full": search.full})["full"]
    assert (drop.points, drop.ci95, drop.optimism) == (0.0, (0.0, 0.0), 0.0)


def test_join_and_select_keep_learned_confidences_with_their_examples() -> None:
    a = drawn(np.random.default_rng(4), 5)
    a = LabelledLogits(a.logits, a.labels, a.logits[:2, :, 0])
    both = a.join(a).select(np.array([7, 0]))
    assert both.learned is not None
    assert (both.logits[:2, :, 0] == both.learned).all()
    assert both.labels.tolist() == a.labels[[2, 0]].tolist()
