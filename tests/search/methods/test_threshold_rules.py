"""Threshold rules of search methods on a synthetic problem."""

import numpy as np

from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import exits_taken
from eetool.search.methods.baselines.nachos import shared_threshold
from eetool.search.methods.tuned_thresholds import ThresholdLimits, tuned_thresholds
from eetool.tune.threshold_search import ThresholdProblem


def problem(seed: int = 0) -> ThresholdProblem:
    rng = np.random.default_rng(seed)
    correct = rng.random((3, 400)) < np.array([0.7, 0.8, 0.9])[:, None]
    confidences = np.clip(0.5 * correct + 0.5 * rng.random((3, 400)), 0, 1).astype(np.float32)
    return ThresholdProblem(confidences, correct, CascadeCosts((1.0, 1.0, 1.0), (0.2, 0.2)))


def test_tuned_thresholds_cost_limit_is_kept_with_margin() -> None:
    p = problem()
    free, _ = tuned_thresholds(p, ThresholdLimits(None, None, 2.0))
    cost, errors = p.evaluate(free)
    assert errors <= p.allowed_errors(2.0)
    held, _ = tuned_thresholds(p, ThresholdLimits(0.8 * cost, None, 2.0))
    spent = p.costs.leaving(held)[exits_taken(p.confidences, held)]
    assert spent.mean() + 1.9 * spent.std() / np.sqrt(p.n) <= 0.8 * cost  # other inputs have other costs
    assert p.evaluate(held)[1] >= errors
    assert tuned_thresholds(p, ThresholdLimits(10.0, None, 2.0))[0] == free


def test_tuned_thresholds_further_points_are_different_and_named_by_their_drop() -> None:
    p = problem()
    tuned, further = tuned_thresholds(p, ThresholdLimits(None, None, 2.0))
    assert list(further) == ["full", "1", "0.5"]
    assert further["full"] == (None, None)
    assert len({tuned, *further.values()}) == 4
    errors = [p.evaluate(choice)[1] for choice in (further["0.5"], further["1"], tuned)]
    assert errors == sorted(errors)
    _, none = tuned_thresholds(p, ThresholdLimits(None, None, 0.1))  # too few examples for any error
    assert none == {}


def test_shared_threshold_cost_limit_lowers_deepest_exit_first() -> None:
    p = problem()
    free = shared_threshold(p, ThresholdLimits())
    assert free[0] is not None
    assert free[0] >= 0.7
    limit = 0.97 * p.evaluate(free)[0]
    held = shared_threshold(p, ThresholdLimits(limit))
    assert p.evaluate(held)[0] <= limit
    assert held[1] is not None
    assert free[1] is not None
    assert held[1] < free[1]
    accuracy = p.correct[-1].mean() - p.evaluate(free)[1] / p.n
    kept = shared_threshold(
        p, ThresholdLimits(limit, min_accuracy=float(accuracy))
    )  # a step that costs too much accuracy is undone
    assert p.correct[-1].mean() - p.evaluate(kept)[1] / p.n >= accuracy
    assert p.evaluate(kept)[1] < p.evaluate(held)[1] or kept == held
