"""Cheapest thresholds within an accuracy drop, with a margin for the luck of choosing (docs/decisions/0016, 0041).

The search selects choices that fit the examples by chance, so a choice at the limit drops more on new data. Every
threshold adds to this. A choice with k different thresholds keeps a drop on n examples if

- (errors + k) / (n + 1) is within the drop: one error per threshold is charged in advance, after the finite-sample
  correction of conformal risk control (arXiv 2208.02814), and
- the drop on the examples plus √k standard errors is within it; a standard error is that of a mean of n paired
  differences, each 1, 0 or −1.

A single threshold at which no example gets worse is always allowed, also where n examples cannot support the drop.
"""

import math
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from eetool.metrics import Thresholds
from eetool.tune.threshold_search import (
    ThresholdProblem,
    price_sweep,
    replace_threshold,
    shared_thresholds,
    threshold_of,
)

_GRID_SHARED, _GRID_ONE = 200, 100  # values that are tried of a shared threshold, and of a single one
_ROUNDING = 1e-9


class Choices(NamedTuple):
    """Figures (k,) of k choices on the examples: mean costs, errors above full depth, worse examples, thresholds."""

    costs: np.ndarray
    errors: np.ndarray
    worse: np.ndarray
    free: np.ndarray


class MarginSearch:
    """Search for the cheapest thresholds within any accuracy drop, on one set of examples."""

    def __init__(
        self, problem: ThresholdProblem, standard_errors: float, n: int | None = None, rounding: float = 0.0
    ) -> None:
        """Prepare the search.

        Args:
            problem: confidences, correctness and costs.
            standard_errors: factor of the margin of √k standard errors.
            n: number of examples that the rule assumes. A search on a part of the examples uses that of all, so that
                it chooses as the search on all examples does.
            rounding: in [0, 1). Counts on a part are scaled to n examples; a fraction of 1 − `rounding` or more is
                rounded up. Searches on several parts with evenly spread values scale without a bias. With a fraction,
                one error of 90 would be 1.1 of 100, which a limit of one error never allows.
        """
        self.problem, self.standard_errors = problem, standard_errors
        self.n, self.rounding = n or problem.n, rounding
        self._known_costs: dict[Thresholds, float] = {}

    @property
    def full(self) -> Thresholds:
        """Thresholds of full depth."""
        return (None,) * self.problem.early

    @cached_property
    def _candidates(self) -> tuple[list[Thresholds], Choices]:
        """Full depth first; then choices along a price of errors, and shared thresholds."""
        choices = [self.full]
        if self.problem.early:
            shared = list(shared_thresholds(self.problem))
            choices += dict.fromkeys([*price_sweep(self.problem), *shared[:: 1 + len(shared) // _GRID_SHARED]])
        costs, errors, worse = self.problem.evaluate_all(choices)
        free = np.array([len(set(choice) - {None}) for choice in choices])
        return choices, Choices(costs, errors, worse, free)

    def _least_drops(self, choices: Choices) -> np.ndarray:
        """Return the least accuracy drop, as a share, that each choice may be allowed for."""
        errors = self._scaled(choices.errors)
        charged = (errors + choices.free) / (self.n + 1)
        least: np.ndarray = np.maximum(charged, errors / self.n + self._deviations(choices) / math.sqrt(self.n))
        return least

    def _deviations(self, choices: Choices) -> np.ndarray:
        """Return the margin of each choice, as a share, on one example."""
        errors, worse = self._scaled(choices.errors), self._scaled(choices.worse)
        share, changed = errors / self.n, (2 * worse - errors) / self.n
        deviations: np.ndarray = np.sqrt(np.maximum(changed - share**2, 0.0) * choices.free) * self.standard_errors
        return deviations

    def _scaled(self, counts: np.ndarray) -> np.ndarray:
        """Return counts on the examples as whole counts on the n that the rule assumes."""
        scaled: np.ndarray = np.floor(counts * self.n / self.problem.n + self.rounding)
        return scaled

    def _allowed(self, choices: Choices, max_accuracy_drop: float) -> np.ndarray:
        harmless = (choices.worse == 0) & (choices.free <= 1)
        allowed: np.ndarray = harmless | (self._least_drops(choices) <= max_accuracy_drop / 100 + _ROUNDING)
        return allowed

    def cheapest(self, max_accuracy_drop: float) -> Thresholds:
        """Return thresholds of the least mean cost within `max_accuracy_drop` percentage points.

        They cost at most as much as full depth. Where the rule allows nothing else, the result is the choice that loses
        nothing in the mean with the fewest worse examples, if there is one.
        """
        choices, figures = self._candidates
        best = choices[_cheapest(figures.costs, self._allowed(figures, max_accuracy_drop) | (figures.free == 0))]
        kept = 0  # thresholds in a row that are the cheapest for the present others
        for index in (*range(self.problem.early), *range(self.problem.early)):
            changed = self._improve(best, index, max_accuracy_drop)
            best, kept = changed, kept + 1 if changed == best else 0
            if kept == self.problem.early:
                break
        return best if best != self.full else self._lossless()

    def _improve(self, best: Thresholds, index: int, max_accuracy_drop: float) -> Thresholds:
        """Return `best` with the cheapest allowed value of one threshold."""
        variation = self.problem.vary(best, index)
        rows = np.unique(np.linspace(0, len(variation.values) - 1, _GRID_ONE).astype(int))
        values, costs, errors, worse = (column[rows] for column in variation)
        others = [t for i, t in enumerate(best) if i != index and t is not None]
        free = len(set(others)) + (~np.isnan(values) & ~np.isin(values, others))
        choices = Choices(costs, errors, worse, free)
        allowed = self._allowed(choices, max_accuracy_drop)
        if not allowed.any():
            return best
        row = _cheapest(costs, allowed)
        changed = replace_threshold(best, index, threshold_of(values[row]))
        return changed if self._cost(changed) < self._cost(best) - _ROUNDING else best

    def _cost(self, choice: Thresholds) -> float:
        if choice not in self._known_costs:
            self._known_costs[choice] = self.problem.evaluate(choice)[0]
        return self._known_costs[choice]

    def _lossless(self) -> Thresholds:
        choices, figures = self._candidates
        lossless = (figures.errors <= 0) & (figures.costs < figures.costs[0])
        if not lossless.any():
            return self.full
        best = int(np.lexsort((figures.costs, figures.worse, ~lossless))[0])
        return choices[best]

    def cheapest_per_drop(self, drops: Iterable[float]) -> dict[float, Thresholds]:
        """Return the result of `cheapest` for each drop; a larger drop never costs more."""
        results: dict[float, Thresholds] = {}
        for drop in sorted(set(drops)):
            found = [self.cheapest(drop), *results.values()]
            results[drop] = min(found, key=self._cost)
        return results

    @cached_property
    def smallest_drop(self) -> float | None:
        """Least accuracy drop, in percentage points, that the examples support; null where no exit saves any cost."""
        figures = self._saving()
        return 100 * max(float(self._least_drops(figures).min()), 0.0) if len(figures.costs) else None

    def examples_for(self, max_accuracy_drop: float) -> int | None:
        """Return how many examples like these support a drop, in percentage points; None where no number does."""
        figures, drop = self._saving(), max_accuracy_drop / 100
        room = drop - figures.errors / self.problem.n
        possible = room > 0
        if not possible.any():
            return None
        free, room = figures.free[possible], room[possible]
        needed = np.maximum((free - drop) / room, (self._deviations(figures)[possible] / room) ** 2)
        return math.ceil(float(needed.min()) - _ROUNDING)

    def _saving(self) -> Choices:
        """Return the figures of the choices that are cheaper than full depth."""
        _, figures = self._candidates
        saving = figures.costs < figures.costs[0]
        return Choices(*(column[saving] for column in figures))


def _cheapest(costs: np.ndarray, allowed: np.ndarray) -> int:
    return int(np.where(allowed, costs, np.inf).argmin())
