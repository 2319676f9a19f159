"""Policies from logits: a calibration, then operating points with their expected figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from eetool.data.splits import CERTIFICATE, HELD_OUT
from eetool.errors import BudgetError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.metrics import Thresholds, exits_taken
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.goals import ENERGY, LATENCY, MACS, Budget, TuningGoals
from eetool.model.spec import ExpectedDrop, StreamFit
from eetool.tune.calibration import TEMPERATURE, Calibration
from eetool.tune.certificates import certify, least_promise
from eetool.tune.cross_fitting import Choose, CrossFit, LabelledLogits, threshold_problem
from eetool.tune.exit_diagnostics import Diagnosis, diagnose
from eetool.tune.margin_search import MarginSearch
from eetool.tune.point_names import BALANCED, BUDGET, FAST, FULL, drop_limits, point_names
from eetool.tune.threshold_search import ThresholdProblem, descending_choices, most_accurate
from eetool_runtime.manifest import Expected, OperatingPoint, ReachedConfidence

_CANDIDATES = 32  # threshold choices that are tested for a certificate
_ROUNDING = 1 + 1e-9
_BUDGET_OPTIONS = {MACS: "--max-macs", LATENCY: "--max-latency-ms", ENERGY: "--max-energy-mj"}


@dataclass(frozen=True)
class CertificateGoal:
    """Accuracy drop, in percentage points, that holds on new data with probability `confidence`."""

    max_accuracy_drop: float
    confidence: float


@dataclass(frozen=True)
class Shortfall:
    """Accuracy drop that was asked of an operating point, and that the held-out examples do not support.

    Attributes:
        max_accuracy_drop: in percentage points.
        examples_needed: number of examples like these that would support it; null where no number does.
    """

    max_accuracy_drop: float
    examples_needed: int | None


@dataclass(frozen=True)
class TuningResult:
    """Fitted policy.

    Attributes:
        calibration: temperatures, and with Platt's method slopes and offsets.
        operating_points: by name, `full` first.
        diagnoses: figures of every exit at `full`, `balanced` and `fast`, on all held-out examples.
        warnings: goals that were not kept, one line each.
        expected_drops: by operating point, the accuracy drop that new data will show; without certified points.
        smallest_drop: least accuracy drop in percentage points that the held-out examples support; null where no exit
            saves any cost.
        shortfalls: by operating point, the drops that are smaller than that.
        default: name of the default operating point.
        keeps_default: whether that is the one that the user chose at an earlier fit.
        stream: operating points for streams; null where none were asked for.
    """

    calibration: Calibration
    operating_points: dict[str, OperatingPoint]
    diagnoses: dict[str, Diagnosis]
    warnings: tuple[str, ...] = ()
    expected_drops: dict[str, ExpectedDrop] = field(default_factory=dict)
    smallest_drop: float | None = None
    shortfalls: dict[str, Shortfall] = field(default_factory=dict)
    default: str = FULL
    keeps_default: bool = False
    stream: StreamFit | None = None


class PointFit:
    """Fit of operating points on all held-out examples. Every expected figure is one for new data."""

    def __init__(
        self,
        held: LabelledLogits,
        costs: CascadeCosts,
        macs: CascadeCosts,
        score: str = MAX_SOFTMAX,
        method: str = TEMPERATURE,
        standard_errors: float = 1.0,
    ) -> None:
        """Calibrate the exits, and prepare the search for thresholds.

        Args:
            held: the held-out examples, of the splits `temperature` and `threshold`.
            costs: costs that the thresholds minimise.
            macs: MACs, for the expected figures of every operating point.
            score: gate score, one of `eetool.model.gate_scores.SCORES`.
            method: calibration method, one of `eetool.tune.calibration.METHODS`.
            standard_errors: margin of a drop, see `eetool.tune.margin_search`.
        """
        self.macs, self.cross_fit = macs, CrossFit(held, costs, score, method, standard_errors)
        self.expected_drops: dict[str, ExpectedDrop] = {}
        self.shortfalls: dict[str, Shortfall] = {}

    @property
    def problem(self) -> ThresholdProblem:
        """All held-out examples, with the costs that thresholds minimise."""
        return self.cross_fit.problem

    @property
    def full(self) -> Thresholds:
        """Thresholds of full depth."""
        return (None,) * self.problem.early

    def within_drops(self, drops: Mapping[str, float]) -> dict[str, OperatingPoint]:
        """Return the cheapest operating point for each accuracy drop, in percentage points by name."""

        def choose(search: MarginSearch) -> dict[str, Thresholds]:
            cheapest = search.cheapest_per_drop(drops.values())
            return {name: cheapest[drop] for name, drop in drops.items()}

        search = self.cross_fit.search
        for name, drop in drops.items():
            if search.smallest_drop is not None and drop < search.smallest_drop:
                self.shortfalls[name] = Shortfall(drop, search.examples_for(drop))
        return self._points(choose)

    def full_depth(self) -> OperatingPoint:
        """Return the point that never leaves early."""
        return self._points(lambda search: {FULL: search.full})[FULL]

    def within_budget(self, budget: Budget, max_accuracy_drop: float) -> OperatingPoint:
        """Return the point with the fewest errors at a mean cost of at most `budget`, within `max_accuracy_drop`.

        Raises:
            BudgetError: no thresholds keep both limits; the message holds the nearest that keep one of them.
        """
        problem = self.problem
        chosen = most_accurate(problem, budget.most)
        cost, errors = problem.evaluate(chosen)
        full = problem.evaluate(self.full)[0]
        if cost > budget.most * _ROUNDING:
            raise BudgetError(
                f"no thresholds bring the mean {budget.unit} down to {budget.most:g}; the nearest is {cost:.4g} "
                f"(full depth {full:.4g}) and loses {100 * errors / problem.n:.2f} points",
                f"{_option(budget, cost)} is the least. Or train a smaller model or an earlier exit.",
            )
        if errors > max(problem.allowed_errors(max_accuracy_drop), 0):
            nearest = problem.evaluate(self.cross_fit.search.cheapest(max_accuracy_drop))[0]
            supported = 100 * (errors + 1) / (problem.n + 1)
            raise BudgetError(
                f"a mean {budget.unit} of {budget.most:g} costs {100 * errors / problem.n:.2f} points of accuracy, "
                f"where {max_accuracy_drop:g} may be lost; the nearest within them is {nearest:.4g} "
                f"(full depth {full:.4g})",
                f"Allow more of either: --max-accuracy-drop {round_up(supported)}, or {_option(budget, nearest)}.",
            )

        def choose(search: MarginSearch) -> dict[str, Thresholds]:
            if search.problem is problem:
                return {BUDGET: chosen}
            return {BUDGET: most_accurate(search.problem, budget.most, thorough=False)}  # five times

        return self._points(choose)[BUDGET]

    def result(self, points: dict[str, OperatingPoint], warnings: Sequence[str] = ()) -> TuningResult:
        """Return the fitted policy with these operating points."""
        diagnosed = {name: points[name].thresholds for name in (FULL, BALANCED, FAST)}
        return TuningResult(
            self.cross_fit.calibration,
            points,
            {name: diagnose(self.problem, thresholds) for name, thresholds in diagnosed.items()},
            tuple(warnings),
            {name: self.expected_drops[name] for name in points if name in self.expected_drops},
            self.cross_fit.search.smallest_drop,
            {name: self.shortfalls[name] for name in points if name in self.shortfalls},
        )

    def _points(self, choose: Choose) -> dict[str, OperatingPoint]:
        points = {}
        full = float(self.problem.correct[-1].mean())
        for name, (thresholds, drop) in self.cross_fit.fit(choose).items():
            accuracy = min(max(full - drop.points / 100, 0.0), 1.0)
            expected = replace(expected_figures(self.problem, self.macs, thresholds, HELD_OUT), accuracy=accuracy)
            points[name], self.expected_drops[name] = OperatingPoint(thresholds, expected), drop
        return points


def fit_operating_points(
    held: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    max_accuracy_drop: float,
    score: str = MAX_SOFTMAX,
    method: str = TEMPERATURE,
    standard_errors: float = 1.0,
) -> TuningResult:
    """Fit a calibration and the points `full`, `balanced` and `fast`; arguments are those of `PointFit`.

    `full` never leaves early. `balanced` may lose half of `max_accuracy_drop` percentage points, `fast` all of it.
    """
    fit = PointFit(held, costs, macs, score, method, standard_errors)
    return fit.result({FULL: fit.full_depth(), **fit.within_drops(drop_limits(max_accuracy_drop))})


def round_up(drop: float) -> float:
    """Return a drop in percentage points as an option that is at least as large: with two decimals."""
    return math.ceil(round(100 * drop, 6)) / 100


def _option(budget: Budget, most: float) -> str:
    """Return the option of a budget that is at least as large, with four digits."""
    unit = 10.0 ** (math.floor(math.log10(most)) - 3) if most > 0 else 1.0
    return f"{_BUDGET_OPTIONS[budget.unit]} {math.ceil(most / unit - 1e-9) * unit:.4g}"


def certified_point(
    calibration: Calibration,
    held: LabelledLogits,
    certificate: LabelledLogits,
    costs: CascadeCosts,
    macs: CascadeCosts,
    promise: CertificateGoal,
    score: str = MAX_SOFTMAX,
) -> OperatingPoint:
    """Return the cheapest point whose drop is certified on a split of its own. Its figures are of that split.

    Args:
        calibration: calibration of the exits.
        held: the examples that candidates are chosen on.
        certificate: the certificate split.
        costs: costs that the candidates minimise.
        macs: MACs, for the expected figures.
        promise: the drop, and the probability with which it holds.
        score: gate score.

    Raises:
        BudgetError: the examples cannot support the promise; the hint is the number that probably would, and the least
            drop that any thresholds could prove on so many.
    """
    candidates = descending_choices(
        threshold_problem(calibration, held, costs, score), promise.max_accuracy_drop, _CANDIDATES
    )
    problem = threshold_problem(calibration, certificate, costs, score)
    result = certify(problem, candidates, promise.max_accuracy_drop, promise.confidence)
    if result.thresholds is None:
        more = f"About {result.n_needed} would" if result.n_needed else "Nor would more of the same kind"
        raise BudgetError(
            f"{problem.n} examples cannot prove a drop of at most {promise.max_accuracy_drop} points with probability "
            f"{promise.confidence} for any early exit",
            f"{more}, if they are like these. Or promise a larger --max-accuracy-drop: {problem.n} examples prove no "
            f"less than {round_up(least_promise(problem.n, promise.confidence))}, even where they lose nothing.",
        )
    expected = expected_figures(problem, macs, result.thresholds, CERTIFICATE)
    return OperatingPoint(result.thresholds, expected, result.certificate)


def fastest_point(tuned: TuningResult, costs: CascadeCosts, goals: TuningGoals) -> str:
    """Return the point of the least mean cost that keeps `max_accuracy_drop`, as asked and as expected on new data.

    Of points with equal cost it is the most accurate one, else the first.
    """
    means, limits = mean_costs(tuned, costs), drop_limits(goals.max_accuracy_drop, goals.drops)
    kept = []
    for name in point_names(goals):
        asked, expected = limits.get(name, 0.0), tuned.expected_drops.get(name)
        if asked <= goals.max_accuracy_drop and (expected is None or expected.points <= goals.max_accuracy_drop):
            kept.append((means[name], 0.0 if expected is None else expected.points, name))
    return min(kept, key=lambda point: point[:2])[2]


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


def expected_figures(problem: ThresholdProblem, macs: CascadeCosts, thresholds: Thresholds, split: str) -> Expected:
    """Return the figures of thresholds on the examples of `problem` themselves, called `split`."""
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
