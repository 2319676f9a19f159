"""From logits on two splits to a policy: temperatures, then operating points with their expected figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eetool.data.splits import CERTIFICATE, THRESHOLD
from eetool.errors import BudgetError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds, exits_taken
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.tune.calibration import PLATT, TEMPERATURE, Calibration, fit_platt, fit_temperature
from eetool.tune.certificates import certify
from eetool.tune.exit_diagnostics import Diagnosis, diagnose
from eetool.tune.gate_scores import calibrated_confidences, log_odds
from eetool.tune.threshold_search import ThresholdProblem, cheapest_per_drop, descending_choices, most_accurate
from eetool_runtime.manifest import Expected, OperatingPoint, ReachedConfidence

FULL, BALANCED, FAST, CERTIFIED, BUDGET = "full", "balanced", "fast", "certified", "budget"
# What part of the accuracy drop that the user allows each point may spend.
_SHARE_OF_DROP = {BALANCED: 0.5, FAST: 1.0}
_CANDIDATES = 32  # thresholds that a certificate is tried for
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class LabelledLogits:
    """Logits of every exit (exits, n, classes), labels int64 (n,) of one split, learned confidences (early, n)."""

    logits: np.ndarray
    labels: np.ndarray
    learned: np.ndarray | None = None


@dataclass(frozen=True)
class CertificateGoal:
    """An accuracy drop, in percentage points, that is to hold on new data with probability `confidence`."""

    max_accuracy_drop: float
    confidence: float


@dataclass(frozen=True)
class Budget:
    """The most that an input may cost in the mean, in `unit`: `macs`, `latency_ms` or `energy_mj`."""

    unit: str
    most: float


@dataclass(frozen=True)
class TuningResult:
    """Calibration, operating points, `full` first, and what exits are worth at each, on the threshold split."""

    calibration: Calibration
    operating_points: dict[str, OperatingPoint]
    diagnoses: dict[str, Diagnosis]


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
    """Fit temperatures on one split and operating points on another.

    `full` never leaves early, `balanced` may lose half of `max_accuracy_drop` (percentage points), `fast` all of it.

    Args:
        costs: what the thresholds minimise.
        macs: MACs, for the figures that every operating point carries.
        score: what gates go by, one of `eetool.model.gate_scores.SCORES`.
        method: how confidences are calibrated, one of `eetool.tune.calibration.METHODS`.
        standard_errors: how much room a drop on the split leaves, see `eetool.tune.threshold_search.cheapest_with_margin`.
    """
    calibration = calibrate(temperature, score, method)
    problem = threshold_problem(calibration, threshold, costs, score)
    thresholds: dict[str, Thresholds] = {FULL: (None,) * problem.early}
    drops = {name: share * max_accuracy_drop for name, share in _SHARE_OF_DROP.items()}
    found = cheapest_per_drop(problem, drops.values(), standard_errors)
    thresholds |= {name: found[drop] for name, drop in drops.items()}
    points = {name: OperatingPoint(t, _expected(problem, macs, t)) for name, t in thresholds.items()}
    return TuningResult(calibration, points, {name: diagnose(problem, t) for name, t in thresholds.items()})


def calibrate(split: LabelledLogits, score: str, method: str = TEMPERATURE) -> Calibration:
    """Temperatures of all exits, and with Platt's method slopes and offsets, fitted on one split."""
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
    """One more operating point for each accuracy drop, in percentage points: `drop-0.5`, …"""
    problem = threshold_problem(tuned.calibration, threshold, costs, score)
    found = cheapest_per_drop(problem, drops, standard_errors)
    return {f"drop-{drop:g}": OperatingPoint(found[drop], _expected(problem, macs, found[drop])) for drop in drops}


def certified_point(
    tuned: TuningResult,
    threshold: LabelledLogits,
    held: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    promise: CertificateGoal,
    score: str = MAX_SOFTMAX,
) -> OperatingPoint:
    """The cheapest thresholds found that keep `promise`, proved on the split `held`; its figures are of that split.

    Raises:
        BudgetError: the examples cannot support the promise; says how many probably would.
    """
    candidates = descending_choices(
        threshold_problem(tuned.calibration, threshold, costs, score), promise.max_accuracy_drop, _CANDIDATES
    )
    problem = threshold_problem(tuned.calibration, held, costs, score)
    found = certify(problem, candidates, promise.max_accuracy_drop, promise.confidence)
    if found.thresholds is None:
        more = f"About {found.n_needed} would" if found.n_needed else "Nor would more of the same kind"
        raise BudgetError(
            f"{problem.n} examples cannot prove a drop of at most {promise.max_accuracy_drop} points with probability "
            f"{promise.confidence} for any early exit",
            f"{more}, as far as these examples tell. Or promise less.",
        )
    return OperatingPoint(found.thresholds, _expected(problem, macs, found.thresholds, CERTIFICATE), found.certificate)


def budget_point(
    tuned: TuningResult,
    threshold: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    budget: Budget,
    max_accuracy_drop: float,
    score: str = MAX_SOFTMAX,
) -> OperatingPoint:
    """The fewest errors at a mean cost of at most `budget`, and no more of them than `max_accuracy_drop` allows.

    Raises:
        BudgetError: no thresholds keep both; names the nearest that keep one of them.
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
    return OperatingPoint(chosen, _expected(problem, macs, chosen))


def mean_costs(tuned: TuningResult, costs: CascadeCosts) -> dict[str, float]:
    """Mean cost of an input at every operating point, by its expected shares."""
    return {
        name: float(np.dot(point.expected.exit_shares, costs.leaving(point.thresholds)))
        for name, point in tuned.operating_points.items()
        if point.expected is not None
    }


def threshold_problem(
    calibration: Calibration, split: LabelledLogits, costs: CascadeCosts, score: str
) -> ThresholdProblem:
    """What thresholds are chosen or judged on: confidences and correctness of one split."""
    correct = split.logits.argmax(2) == split.labels  # (exits, n, classes) -> (exits, n)
    return ThresholdProblem(calibrated_confidences(score, split.logits, calibration, split.learned), correct, costs)


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
