"""Policies from logits: a calibration, then operating points with their expected figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eetool.data.splits import CERTIFICATE, THRESHOLD
from eetool.errors import BudgetError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds, exits_taken
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.goals import Budget
from eetool.tune.calibration import PLATT, TEMPERATURE, Calibration, fit_platt, fit_temperature
from eetool.tune.certificates import certify
from eetool.tune.exit_diagnostics import Diagnosis, diagnose
from eetool.tune.gate_scores import calibrated_confidences, log_odds
from eetool.tune.threshold_search import (
    ThresholdProblem,
    cheapest_per_drop,
    cheapest_within,
    descending_choices,
    most_accurate,
)
from eetool_runtime.manifest import Expected, OperatingPoint, ReachedConfidence

FULL, BALANCED, FAST, CERTIFIED, BUDGET = "full", "balanced", "fast", "certified", "budget"
# Share of the allowed accuracy drop that each point may use.
_SHARE_OF_DROP = {BALANCED: 0.5, FAST: 1.0}
_CANDIDATES = 32  # threshold choices that are tested for a certificate
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class LabelledLogits:
    """Model outputs and labels of one split.

    Attributes:
        logits: of every exit (exits, n, classes).
        labels: int64 (n,).
        learned: learned confidences (early exits, n); null where the model has none.
    """

    logits: np.ndarray
    labels: np.ndarray
    learned: np.ndarray | None = None


@dataclass(frozen=True)
class CertificateGoal:
    """Accuracy drop, in percentage points, that holds on new data with probability `confidence`."""

    max_accuracy_drop: float
    confidence: float


@dataclass(frozen=True)
class TuningResult:
    """Fitted policy.

    Attributes:
        calibration: temperatures, and with Platt's method slopes and offsets.
        operating_points: by name, `full` first.
        diagnoses: figures of every exit at `full`, `balanced` and `fast`, on the threshold split.
        warnings: goals that were not kept, one line each.
    """

    calibration: Calibration
    operating_points: dict[str, OperatingPoint]
    diagnoses: dict[str, Diagnosis]
    warnings: tuple[str, ...] = ()


def fit_operating_points(
    temperature: LabelledLogits,
    threshold: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    max_accuracy_drop: float,
    score: str = MAX_SOFTMAX,
    method: str = TEMPERATURE,
    standard_errors: float = 0.0,
) -> TuningResult:
    """Fit a calibration on one split and operating points on another.

    Point `full` never leaves early. `balanced` may lose half of `max_accuracy_drop`, `fast` all of it.

    Args:
        temperature: the split for the calibration.
        threshold: the split for the thresholds.
        costs: costs that the thresholds minimise.
        macs: MACs, for the expected figures of every operating point.
        max_accuracy_drop: in percentage points.
        score: gate score, one of `eetool.model.gate_scores.SCORES`.
        method: calibration method, one of `eetool.tune.calibration.METHODS`.
        standard_errors: margin of the drop, see `eetool.tune.threshold_search.cheapest_with_margin`.
    """
    calibration = calibrate(temperature, score, method)
    problem = threshold_problem(calibration, threshold, costs, score)
    thresholds: dict[str, Thresholds] = {FULL: (None,) * problem.early}
    drops = {name: share * max_accuracy_drop for name, share in _SHARE_OF_DROP.items()}
    cheapest = cheapest_per_drop(problem, drops.values(), standard_errors)
    thresholds |= {name: cheapest[drop] for name, drop in drops.items()}
    points = {name: _point(problem, macs, t) for name, t in thresholds.items()}
    return TuningResult(calibration, points, {name: diagnose(problem, t) for name, t in thresholds.items()})


def calibrate(split: LabelledLogits, score: str, method: str = TEMPERATURE) -> Calibration:
    """Fit temperatures of all exits, and with Platt's method slopes and offsets, on one split."""
    temperatures = tuple(fit_temperature(logits, split.labels) for logits in split.logits)
    if method != PLATT:
        return Calibration(temperatures)
    odds = log_odds(score, split.logits, temperatures, split.learned)
    right = split.logits.argmax(2) == split.labels  # (exits, n, classes) -> (exits, n)
    fitted = [fit_platt(one, correct) for one, correct in zip(odds, right, strict=True)]
    return Calibration(temperatures, tuple(slope for slope, _ in fitted), tuple(offset for _, offset in fitted))


def drop_points(
    tuned: TuningResult,
    threshold: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    drops: Sequence[float],
    score: str = MAX_SOFTMAX,
    standard_errors: float = 0.0,
) -> dict[str, OperatingPoint]:
    """Return one operating point, `drop-0.5`, …, for each accuracy drop in percentage points."""
    problem = threshold_problem(tuned.calibration, threshold, costs, score)
    cheapest = cheapest_per_drop(problem, drops, standard_errors)
    return {f"drop-{drop:g}": _point(problem, macs, cheapest[drop]) for drop in drops}


def point_within_drop(
    tuned: TuningResult,
    threshold: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    drop: float,
    score: str = MAX_SOFTMAX,
) -> OperatingPoint:
    """Return the cheapest operating point that loses at most `drop` percentage points on the threshold split.

    The drop has no margin: it is that of a point that another variant already has.
    """
    problem = threshold_problem(tuned.calibration, threshold, costs, score)
    return _point(problem, macs, cheapest_within(problem, drop * problem.n / 100 + 1e-6))


def certified_point(
    tuned: TuningResult,
    threshold: LabelledLogits,
    held: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    promise: CertificateGoal,
    score: str = MAX_SOFTMAX,
) -> OperatingPoint:
    """Return the cheapest point whose drop is certified on the split `held`. Its figures are of that split.

    Raises:
        BudgetError: the examples cannot support the promise; the hint is the number that probably would.
    """
    candidates = descending_choices(
        threshold_problem(tuned.calibration, threshold, costs, score), promise.max_accuracy_drop, _CANDIDATES
    )
    problem = threshold_problem(tuned.calibration, held, costs, score)
    result = certify(problem, candidates, promise.max_accuracy_drop, promise.confidence)
    if result.thresholds is None:
        more = f"About {result.n_needed} would" if result.n_needed else "Nor would more of the same kind"
        raise BudgetError(
            f"{problem.n} examples cannot prove a drop of at most {promise.max_accuracy_drop} points with probability "
            f"{promise.confidence} for any early exit",
            f"{more}, if they are like these. Or promise less.",
        )
    expected = _expected(problem, macs, result.thresholds, CERTIFICATE)
    return OperatingPoint(result.thresholds, expected, result.certificate)


def budget_point(
    tuned: TuningResult,
    threshold: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    budget: Budget,
    max_accuracy_drop: float,
    score: str = MAX_SOFTMAX,
) -> OperatingPoint:
    """Return the point with the fewest errors at a mean cost of at most `budget`, within `max_accuracy_drop`.

    Raises:
        BudgetError: no thresholds keep both limits; the message holds the nearest that keep one of them.
    """
    problem = threshold_problem(tuned.calibration, threshold, costs, score)
    chosen = most_accurate(problem, budget.most)
    cost, errors = problem.evaluate(chosen)
    full = problem.evaluate(tuned.operating_points[FULL].thresholds)[0]
    if cost > budget.most * _ROUNDING:
        raise BudgetError(
            f"no thresholds bring the mean {budget.unit} down to {budget.most:g}; the nearest is {cost:.4g} "
            f"(full depth {full:.4g}) and loses {100 * errors / problem.n:.2f} points",
            "Allow more, or train a smaller model or an earlier exit.",
        )
    allowed = problem.allowed_errors(max_accuracy_drop)
    if errors > max(allowed, 0):
        nearest = problem.evaluate(tuned.operating_points[FAST].thresholds)[0]
        raise BudgetError(
            f"a mean {budget.unit} of {budget.most:g} costs {100 * errors / problem.n:.2f} points of accuracy, where "
            f"{max_accuracy_drop:g} are allowed; the nearest within them is {nearest:.4g} (full depth {full:.4g})",
            "Allow more of either: --max-accuracy-drop, or the budget.",
        )
    return _point(problem, macs, chosen)


def accuracy_drop(points: Mapping[str, OperatingPoint], name: str) -> float | None:
    """Return the expected drop of a point against full depth, in percentage points; None where it is not known."""
    point, full = points[name].expected, points[FULL].expected if FULL in points else None
    if point is None or full is None or point.split != full.split:
        return None
    return 100 * max(full.accuracy - point.accuracy, 0.0)


def mean_costs(tuned: TuningResult, costs: CascadeCosts) -> dict[str, float]:
    """Return the mean cost of an input at every operating point, from its expected exit shares."""
    return {
        name: float(np.dot(point.expected.exit_shares, costs.leaving(point.thresholds)))
        for name, point in tuned.operating_points.items()
        if point.expected is not None
    }


def threshold_problem(
    calibration: Calibration, split: LabelledLogits, costs: CascadeCosts, score: str
) -> ThresholdProblem:
    """Return the confidences, correctness and costs on which thresholds are chosen or judged."""
    correct = split.logits.argmax(2) == split.labels  # (exits, n, classes) -> (exits, n)
    return ThresholdProblem(calibrated_confidences(score, split.logits, calibration, split.learned), correct, costs)


def _point(problem: ThresholdProblem, macs: CascadeCosts, thresholds: Thresholds) -> OperatingPoint:
    return OperatingPoint(thresholds, _expected(problem, macs, thresholds))


def _expected(
    problem: ThresholdProblem, macs: CascadeCosts, thresholds: Thresholds, split: str = THRESHOLD
) -> Expected:
    taken = exits_taken(problem.confidences, thresholds)
    exits = len(problem.confidences)
    counts = np.bincount(taken, minlength=exits)
    return Expected(
        split=split,
        n=problem.n,
        accuracy=float(problem.correct[taken, np.arange(problem.n)].mean()),
        exit_shares=tuple((counts / problem.n).tolist()),
        mean_exit_depth=float(taken.mean()),
        mean_macs=float(macs.leaving(thresholds)[taken].mean()),
        reached=tuple(_reached(problem.confidences[i][taken >= i]) for i in range(exits)),
    )


def _reached(confidences: np.ndarray) -> ReachedConfidence | None:
    if len(confidences) == 0:
        return None
    return ReachedConfidence(len(confidences), float(confidences.mean()), float(confidences.std()))
