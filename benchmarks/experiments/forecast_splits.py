"""Forecast and outcome of advised exits on any split of stored logits into held-out and test examples.

The logits are those of the trial exits and of the exits trained in full, on the held-out and test examples together.
So a split other than the recorded one needs no training: temperatures and thresholds are fitted anew on its held-out
examples, for the forecast and as `tune` does, and the outcome is that on its test examples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eetool.advise.exit_costs import ExitCosts
from eetool.advise.exit_search import HeldOut
from eetool.advise.forecast import extrapolate, forecast_points
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.cross_fitting import LabelledLogits, threshold_problem
from eetool.tune.operating_points import FULL, PointFit, drop_limits

RATIO_LIMIT, ACCURACY_LIMIT = 0.1, 1.5
Split = tuple[np.ndarray, np.ndarray]  # indices of held-out and of test examples


@dataclass(frozen=True)
class StoredLogits:
    """Logits on held-out examples, then test examples.

    Attributes:
        trial: logits of trial exits, the advised ones among them.
        half: those of the advised exits trained on half of the trial's examples; null where there is no such training.
        trained: logits of the advised exits after the full training.
        held_out: number of held-out examples.
        doublings: doublings from the examples of the trial to all training examples.
        costs: costs of trial exits.
        trained_costs: costs of the trained network, in the same unit.
        max_accuracy_drop: percentage points.
    """

    trial: HeldOut
    half: HeldOut | None
    trained: LabelledLogits
    held_out: int
    doublings: float
    costs: ExitCosts
    trained_costs: CascadeCosts
    max_accuracy_drop: float

    @property
    def recorded(self) -> Split:
        """The split that the advice and the training had."""
        rows = np.arange(len(self.trained.labels))
        return rows[: self.held_out], rows[self.held_out :]

    def exchanged(self, count: int) -> Iterator[Split]:
        """Yield random splits of the same sizes."""
        for number in range(count):
            order = np.random.default_rng([1, number]).permutation(len(self.trained.labels))
            yield order[: self.held_out], order[self.held_out :]


def compare_split(stored: StoredLogits, exits: tuple[Any, ...], split: Split) -> dict[str, dict[str, float]]:
    """Return forecast, expectation of `tune` and outcome of every point; accuracies in %, differences in points."""
    held, test = split
    drops = drop_limits(stored.max_accuracy_drop)
    points = forecast_points(_part(stored.trial, held), exits, stored.costs, drops)
    if stored.half is not None:
        of_half = forecast_points(_part(stored.half, held), exits, stored.costs, drops)
        points = extrapolate(points, of_half, stored.doublings, exits, stored.costs)
    fit = PointFit(stored.trained.select(held), stored.trained_costs, stored.trained_costs)
    tuned = fit.within_drops(drops)
    full = fit.full_depth().expected
    assert full is not None
    new = threshold_problem(fit.cross_fit.calibration, stored.trained.select(test), stored.trained_costs, "max_softmax")
    full_new = float(new.correct[-1].mean())
    figures = {FULL: {"forecast": 100 * full.accuracy, "outcome": 100 * full_new}}
    for point in points:
        cost, errors = new.evaluate(tuned[point.name].thresholds)
        drop, expected = 100 * errors / new.n, fit.expected_drops[point.name]
        low, high = (-bound for bound in reversed(point.accuracy_difference_ci95))
        figures[point.name] = {
            "ratio_forecast": point.ratio_all_examples,
            "ratio_outcome": cost / stored.costs.unsplit.value,
            "accuracy_forecast": 100 * point.accuracy,
            "accuracy_outcome": 100 * full_new - drop,
            "drop_forecast": -point.accuracy_difference,
            "drop_interval": high - low,
            "drop_expected_by_tune": expected.points,
            "drop_outcome": drop,
            "in_interval": float(low <= drop <= high),
        }
    return figures


def _part(held: HeldOut, rows: np.ndarray) -> HeldOut:
    return replace(held, logits=held.logits[:, rows], labels=held.labels[rows])


def summary(figures: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return means over splits, their standard errors, and the shares of splits within the limits.

    Args:
        figures: values (splits,) of one operating point, as `compare_split` has them.
    """
    ratio = figures["ratio_outcome"] - figures["ratio_forecast"]
    accuracy = figures["accuracy_outcome"] - figures["accuracy_forecast"]
    drop = figures["drop_outcome"] - figures["drop_forecast"]
    of_tune = figures["drop_outcome"] - figures["drop_expected_by_tune"]
    parts = {"ratio": ratio, "accuracy": accuracy, "drop": drop, "drop_of_tune": of_tune}
    return {
        "splits": len(ratio),
        **{f"{name}_difference": _moments(values) for name, values in parts.items()},
        "ratio_met_share": float((abs(ratio) <= RATIO_LIMIT).mean()),
        "accuracy_met_share": float((abs(accuracy) <= ACCURACY_LIMIT).mean()),
        "drop_met_share": float((abs(drop) <= ACCURACY_LIMIT).mean()),
        "drop_in_interval_share": float(figures["in_interval"].mean()),
    }


def _moments(values: np.ndarray) -> dict[str, float]:
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return {
        "mean": round(float(values.mean()), 4),
        "standard_error": round(deviation / math.sqrt(len(values)), 4),
        "deviation_of_one_split": round(deviation, 4),
    }
