"""Cross-fitting: a policy is chosen on all held-out examples, and judged on parts that its repetitions did not use.

Thresholds look better on the examples that they were chosen on than on new ones. So calibration and choice are repeated
on the examples without one fold after another, and each repetition is judged on the fold that it left out. So every
example serves both ends, as in cross-fitting (Chernozhukov et al., arXiv 1608.00060). What a repetition loses more on
the fold that it left out than on the examples that it was chosen on is its optimism. Repetitions have fewer examples,
and optimism goes with a standard error, so it is scaled by √(1 − 1 / folds). The expected drop is that of the policy on
all examples plus this optimism.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eetool.accuracy_difference import paired_interval
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds
from eetool.model.spec import ExpectedDrop
from eetool.tune.calibration import PLATT, TEMPERATURE, Calibration, fit_platt, fit_temperature
from eetool.tune.gate_scores import calibrated_confidences, log_odds
from eetool.tune.margin_search import MarginSearch
from eetool.tune.threshold_search import ThresholdProblem

_FOLDS, _FEWER_FOLDS = 10, 5
_MANY = 1000  # examples from which fewer folds leave enough for a repetition
_SEED = 0  # of the folds; the same examples always have the same folds

# Chooses thresholds by name. It is called on all examples and on each part of them.
Choose = Callable[[MarginSearch], Mapping[str, Thresholds]]


@dataclass(frozen=True)
class LabelledLogits:
    """Model outputs and labels of some examples.

    Attributes:
        logits: of every exit (exits, n, classes).
        labels: int64 (n,).
        learned: learned confidences (early exits, n); null where the model has none.
    """

    logits: np.ndarray
    labels: np.ndarray
    learned: np.ndarray | None = None

    def select(self, rows: np.ndarray) -> "LabelledLogits":
        """Return the examples at `rows`, indices or a mask."""
        learned = None if self.learned is None else self.learned[:, rows]
        return LabelledLogits(self.logits[:, rows], self.labels[rows], learned)

    def join(self, other: "LabelledLogits") -> "LabelledLogits":
        """Return the examples of both."""
        learned = None
        if self.learned is not None and other.learned is not None:
            learned = np.concatenate([self.learned, other.learned], 1)
        return LabelledLogits(
            np.concatenate([self.logits, other.logits], 1), np.concatenate([self.labels, other.labels]), learned
        )


@dataclass(frozen=True)
class _Fold:
    search: MarginSearch
    left_out: ThresholdProblem


class CrossFit:
    """Fit on all held-out examples with one repetition for each fold."""

    def __init__(
        self, held: LabelledLogits, costs: CascadeCosts, score: str, method: str, standard_errors: float
    ) -> None:
        """Calibrate on all examples, and on all but each fold.

        Args:
            held: the held-out examples.
            costs: costs that the thresholds minimise.
            score: gate score, one of `eetool.model.gate_scores.SCORES`.
            method: calibration method, one of `eetool.tune.calibration.METHODS`.
            standard_errors: factor of the margin of a drop, see `eetool.tune.margin_search`.
        """
        n = len(held.labels)
        self.calibration = calibrate(held, score, method)
        self.search = MarginSearch(threshold_problem(self.calibration, held, costs, score), standard_errors)
        self._folds = []
        folds = min(_FOLDS if n < _MANY else _FEWER_FOLDS, n)
        of_example = np.random.default_rng(_SEED).permutation(n) % folds
        for fold in range(folds if n > 1 else 0):
            rest, left_out = held.select(of_example != fold), held.select(of_example == fold)
            calibration = calibrate(rest, score, method)
            rest_problem, problem = (threshold_problem(calibration, part, costs, score) for part in (rest, left_out))
            rounding = (fold + 0.5) / folds
            self._folds.append(_Fold(MarginSearch(rest_problem, standard_errors, n, rounding), problem))

    @property
    def problem(self) -> ThresholdProblem:
        """All held-out examples."""
        return self.search.problem

    def fit(self, choose: Choose) -> dict[str, tuple[Thresholds, ExpectedDrop]]:
        """Return the thresholds that `choose` takes on all examples, with the drop to expect on new data."""
        chosen = choose(self.search)
        repetitions = [choose(fold.search) for fold in self._folds]
        return {name: (thresholds, self._judge(name, thresholds, repetitions)) for name, thresholds in chosen.items()}

    def _judge(
        self, name: str, thresholds: Thresholds, repetitions: Sequence[Mapping[str, Thresholds]]
    ) -> ExpectedDrop:
        n, (worse, better) = self.problem.n, self.problem.changes(thresholds)
        if all(t is None for t in thresholds):
            return ExpectedDrop(0.0, (0.0, 0.0), 0.0)  # full depth against itself
        seen = 100 * (worse - better) / n
        if not self._folds:
            return ExpectedDrop(seen, paired_interval(worse, better, n), 0.0)
        lost, gained = _changes([f.left_out for f in self._folds], name, repetitions)
        fitted = _changes([f.search.problem for f in self._folds], name, repetitions)
        outside = 100 * (lost - gained) / n
        folds = len(self._folds)  # every example is in all repetitions but one
        inside = 100 * (fitted[0] - fitted[1]) / (n * (folds - 1))
        optimism = (outside - inside) * math.sqrt(1 - 1 / folds)
        move = seen + optimism - outside  # the interval has the width of that of the left-out folds
        low, high = (min(max(end + move, -100.0), 100.0) for end in paired_interval(lost, gained, n))
        return ExpectedDrop(seen + optimism, (low, high), optimism)


def _changes(
    problems: Sequence[ThresholdProblem], name: str, repetitions: Sequence[Mapping[str, Thresholds]]
) -> tuple[int, int]:
    """Return how many examples only the cascades classify wrongly, and how many only full depth does, in all."""
    counts = [problem.changes(one[name]) for problem, one in zip(problems, repetitions, strict=True)]
    worse, better = (sum(column) for column in zip(*counts, strict=True))
    return worse, better


def calibrate(split: LabelledLogits, score: str, method: str = TEMPERATURE) -> Calibration:
    """Fit temperatures of all exits, and with Platt's method slopes and offsets."""
    temperatures = tuple(fit_temperature(logits, split.labels) for logits in split.logits)
    if method != PLATT:
        return Calibration(temperatures)
    odds = log_odds(score, split.logits, temperatures, split.learned)
    right = split.logits.argmax(2) == split.labels  # (exits, n, classes) -> (exits, n)
    fitted = [fit_platt(one, correct) for one, correct in zip(odds, right, strict=True)]
    return Calibration(temperatures, tuple(slope for slope, _ in fitted), tuple(offset for _, offset in fitted))


def threshold_problem(
    calibration: Calibration, split: LabelledLogits, costs: CascadeCosts, score: str
) -> ThresholdProblem:
    """Return the confidences, correctness and costs on which thresholds are chosen or judged."""
    correct = split.logits.argmax(2) == split.labels  # (exits, n, classes) -> (exits, n)
    return ThresholdProblem(calibrated_confidences(score, split.logits, calibration, split.learned), correct, costs)
