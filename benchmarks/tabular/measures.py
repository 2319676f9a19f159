"""Measures of a search's operating points, and their intervals over seeds.

Points are pairs of error and cost. What is chosen is chosen on the part `judge`, and what is reported is of `test`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.search.methods import pareto

REFERENCE_ERROR = 0.4  # of hypervolumes, fixed before any search; the reference cost is that of the largest backbone
COST_SHARES = (0.05, 0.1, 0.2, 0.4, 0.8)  # budgets, as shares of that cost
TARGETS = 5  # accuracies that costs are compared at
_BELOW_FULL_DEPTH = 0.005  # of them below the accuracies of backbones at full depth
_SAMPLES = 2000


@dataclass(frozen=True)
class Scale:
    """Measures that all searches of one objective share.

    Attributes:
        cost: of the largest backbone without exits.
        budgets: costs that accuracies are compared at.
        targets: accuracies that costs are compared at.
    """

    cost: float
    budgets: tuple[float, ...]
    targets: tuple[float, ...]

    @classmethod
    def of(cls, cost: float, full_depth: Sequence[float]) -> "Scale":
        """Return the scale of a table.

        Args:
            cost: of the largest backbone without exits.
            full_depth: accuracies of all backbones without exits on the part `test`.
        """
        ends = min(full_depth) - _BELOW_FULL_DEPTH, max(full_depth) - _BELOW_FULL_DEPTH
        return cls(cost, tuple(share * cost for share in COST_SHARES), tuple(np.linspace(*ends, TARGETS).tolist()))

    def hypervolume(self, points: np.ndarray) -> float:
        """Return the area of points (n, 2) on a logarithmic cost axis, in accuracy times e-folds of cost."""
        logarithmic = np.stack([points[:, 0], np.log(points[:, 1] / self.cost)], 1)
        return pareto.hypervolume(logarithmic, (REFERENCE_ERROR, 0.0))

    def accuracies(self, judge: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return accuracies (budgets,) of the best points within each budget; 0 where there is none."""
        return np.array([self._accuracy(judge, test, budget) for budget in self.budgets])

    @staticmethod
    def _accuracy(judge: np.ndarray, test: np.ndarray, budget: float) -> float:
        allowed = np.flatnonzero(judge[:, 1] <= budget)
        return float(1 - test[allowed[judge[allowed, 0].argmin()], 0]) if len(allowed) else 0.0

    def costs(self, judge: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return costs (targets,) of the cheapest points of at least each accuracy, both on `test`.

        Only points on the front of `judge` count. Reaching an accuracy on `judge` is not enough: of many points some do
        by chance, the more of them the longer a search was. Where none reaches it, the cost is that of the largest
        backbone, which anyone can take.
        """
        front = pareto.pareto_front(judge)
        accuracy, cost = 1 - test[front, 0], test[front, 1]
        reached = [cost[accuracy >= target - 1e-12] for target in self.targets]
        return np.array([float(own.min()) if len(own) else self.cost for own in reached])


def mean_interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """Return the mean of values (seeds,) and its 95 % interval, by a bootstrap over seeds."""
    means = _resampled(values, np.random.default_rng(seed))
    return [float(values.mean()), *_ends(means)]


def difference_interval(first: np.ndarray, second: np.ndarray, seed: int = 0) -> list[float]:
    """Return the difference of two means and its 95 % interval; seeds of both are resampled independently."""
    rng = np.random.default_rng(seed)
    differences = _resampled(first, rng) - _resampled(second, rng)
    return [float(first.mean() - second.mean()), *_ends(differences)]


def _resampled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    means: np.ndarray = values[rng.integers(0, len(values), (_SAMPLES, len(values)))].mean(1)
    return means


def _ends(samples: np.ndarray) -> list[float]:
    return np.quantile(samples, (0.025, 0.975)).tolist()
