"""Forecast of an operating point, by cross-fitting on held-out examples, and its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eetool.advise.document import AdviceVerdict, PointForecast, RivalForecast
from eetool.advise.exit_costs import ExitCosts
from eetool.advise.exit_search import STANDARD_ERRORS, HeldOut, tuned_problem
from eetool.advise.trial_exits import TrialExit
from eetool.bench.intervals import difference_interval
from eetool.metrics import exits_taken
from eetool.tune.margin_search import MarginSearch
from eetool.wording import counted

_FOLDS = 5
_DEVIATIONS = 1.96  # for 95 %
_ROUNDING = 1e-9
_GAIN = 2**-0.5  # gain of a doubling of the training examples over that of the doubling before


@dataclass(frozen=True)
class JudgedPoint:
    """A forecast with the correctness (n,) of its predictions."""

    forecast: PointForecast
    right: np.ndarray


@dataclass(frozen=True)
class JudgedRival:
    """A rival with the correctness (n,) of its predictions."""

    forecast: RivalForecast
    right: np.ndarray


def forecast_point(
    held: HeldOut, exits: Sequence[TrialExit], costs: ExitCosts, name: str, drop: float, seed: int
) -> JudgedPoint:
    """Return the forecast of the point with thresholds for `drop`.

    Temperatures and thresholds are fitted on four fifths of the examples and judged on the rest, in turn. So no example
    judges thresholds that it has fitted, and all of them serve both.
    """
    n = len(held.labels)
    cascade = costs.cascade(exits)
    taken, right = np.zeros(n, int), np.zeros(n, bool)
    spent = np.zeros(n)
    folds = np.random.default_rng(seed).permutation(n) % _FOLDS
    for fold in range(min(_FOLDS, n)):
        fitted, judged = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        problem = tuned_problem(held, exits, cascade, fitted, fitted)
        thresholds = MarginSearch(problem, STANDARD_ERRORS, n).cheapest(drop)
        other = tuned_problem(held, exits, cascade, fitted, judged)
        taken[judged] = exits_taken(other.confidences, thresholds)
        right[judged] = other.correct[taken[judged], np.arange(len(judged))]
        spent[judged] = cascade.leaving(thresholds)[taken[judged]]
    unsplit, full = costs.unsplit.value, held.correct[-1]
    shares = tuple((np.bincount(taken, minlength=len(exits) + 1) / n).tolist())
    ratio = float(spent.mean() / unsplit)
    of_examples = float(spent.std() / unsplit / np.sqrt(n))
    half = _DEVIATIONS * float(np.hypot(of_examples, costs.ratio_deviation(exits, shares, ratio)))
    low, high = difference_interval(right, full)
    return JudgedPoint(
        PointForecast(
            name=name,
            max_accuracy_drop=drop,
            accuracy=float(right.mean()),
            accuracy_difference=float(100 * (right.mean() - full.mean())),
            accuracy_difference_ci95=(low, high),
            cost=float(spent.mean()),
            ratio=ratio,
            ratio_ci95=(max(0.0, ratio - half), ratio + half),
            exit_shares=shares,
            ratio_all_examples=ratio,
        ),
        right,
    )


def extrapolate(point: JudgedPoint, of_half: JudgedPoint, doublings: float, least: float) -> JudgedPoint:
    """Return the point with the ratio that more training examples are expected to bring.

    The distance of a ratio to its limit is taken to fall with the square root of the number of training examples, as
    estimates do. So each doubling brings 2^-1/2 of the gain of the one before; the last gain that was seen is that from
    half of the examples to all that the trial exits had.

    Args:
        point: the point of exits trained on the examples of the trial.
        of_half: the point of the same exits trained on half of them.
        doublings: doublings from the examples of the trial to all training examples.
        least: ratio of leaving at the first exit, which nothing is below.
    """
    gain = max(0.0, of_half.forecast.ratio - point.forecast.ratio)
    further = gain * _GAIN * (1 - _GAIN**doublings) / (1 - _GAIN)
    expected = max(point.forecast.ratio - further, min(least, point.forecast.ratio))
    return replace(point, forecast=replace(point.forecast, ratio_all_examples=expected))


def decide(
    points: Sequence[JudgedPoint], rivals: Sequence[JudgedRival], max_accuracy_drop: float, unknown: Sequence[str]
) -> AdviceVerdict:
    """Return the verdict on several operating points of the same exits.

    It pays where one point is cheaper than the unsplit network, loses at most `max_accuracy_drop`, and no rival is at
    least as accurate and at least as cheap; it does not pay where every point breaks one of these. Both are said only
    where the intervals of 95 % allow no other answer, and nothing in `unknown` stands against it.
    """
    judged = [(point, *_judge(point, rivals, max_accuracy_drop)) for point in points]
    for point, pays, _ in judged:
        if pays and not unknown:
            return AdviceVerdict(True, point.forecast.name, f"Early exit can pay here: {_facts(point.forecast)}.")
    best, _, reason = min(judged, key=lambda item: item[0].forecast.ratio)
    if not unknown and all(pays is False for _, pays, _ in judged):
        text = f"Early exit does not pay here: {reason}. {_facts(best.forecast).capitalize()}."
        return AdviceVerdict(False, best.forecast.name, text)
    open_, _, why = next((item for item in judged if item[1] is None), (best, None, reason))
    doubts = "; ".join(dict.fromkeys([*unknown, *([why] if why else [])]))
    text = f"Cannot tell whether early exit pays here: {doubts}. The forecast: {_facts(open_.forecast)}."
    return AdviceVerdict(None, open_.forecast.name, text)


def _judge(point: JudgedPoint, rivals: Sequence[JudgedRival], limit: float) -> tuple[bool | None, str]:
    """Return whether a point pays by its intervals, with the reason if not."""
    f = point.forecast
    low, high = f.accuracy_difference_ci95
    if f.ratio_ci95[0] >= 1 > f.ratio_all_examples:
        return None, f"{f.name} may become cheaper than the unsplit network with all training examples"
    if f.ratio_ci95[0] >= 1:
        return False, f"{f.name} is no cheaper than the unsplit network"
    if -high > limit + _ROUNDING:
        return False, f"{f.name} loses more than {limit:g} points of accuracy"
    for rival in rivals:
        cost = rival.forecast.cost
        if cost is not None and cost <= f.cost and rival.right.mean() >= point.right.mean():
            return False, f"{rival.forecast.name} is at least as accurate and at least as cheap"
    if f.ratio_ci95[1] >= 1:
        return None, f"{f.name} may be no cheaper, as its interval reaches {f.ratio_ci95[1]:.2f}"
    if -low > limit + _ROUNDING:
        n = len(point.right)
        return (
            None,
            f"with {counted(n, 'held-out example')} {f.name} may lose {-low:.1f} points, where {limit:g} may be lost",
        )
    unpriced = [r.forecast.name for r in rivals if r.forecast.cost is None]
    if unpriced:
        return None, f"the table has no figure for {unpriced[0]}"
    return True, ""


def _facts(f: PointForecast) -> str:
    low, high = f.ratio_ci95
    least, most = f.accuracy_difference_ci95
    more = f", {f.ratio_all_examples:.2f} with all training examples" if f.ratio_all_examples < f.ratio else ""
    return (
        f"{f.name} is expected at {f.ratio:.2f} of the unsplit network's cost ({low:.2f} to {high:.2f}{more}), with "
        f"{100 * f.accuracy:.1f} % accuracy ({f.accuracy_difference:+.2f} points, {least:+.2f} to {most:+.2f})"
    )
