"""Forecast of operating points by the fit that `eetool tune` makes, on logits of trial exits, and its verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from eetool.accuracy_difference import CONFIDENCE, Interval
from eetool.advise.document import EXITS, AdviceVerdict, PointForecast, RivalForecast, SizeForecast
from eetool.advise.exit_costs import ExitCosts, Price
from eetool.advise.exit_search import STANDARD_ERRORS, HeldOut, Placed
from eetool.advise.trial_exits import TrialExit
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.tune.operating_points import PointFit
from eetool.wording import counted

_DEVIATIONS = 1.96  # for 95 %
_ROUNDING = 1e-9
_GAIN = 2**-0.5  # gain of a doubling of the training examples over that of the doubling before


E = TypeVar("E", bound=Placed)
F = TypeVar("F", bound=Placed, contravariant=True)


class CostsOf(Protocol[F]):
    """Costs of cascades that a forecast needs; see `ExitCosts`."""

    @property
    def unsplit(self) -> Price:
        """Cost of the network without exits."""

    def cascade(self, exits: Sequence[F]) -> CascadeCosts:
        """Return the costs of a cascade with these exits."""

    def ratio_deviation(self, exits: Sequence[F], shares: Sequence[float], ratio: float) -> float:
        """Return the standard deviation of (mean cost / unsplit cost) that comes from the table."""


def forecast_points(
    held: HeldOut[E], exits: Sequence[E], costs: CostsOf[E], drops: Mapping[str, float]
) -> list[PointForecast]:
    """Return the forecast of a point for each accuracy drop, in percentage points by name.

    The point is the one that `tune` would fit on the held-out examples, with its expected figures. So what is forecast
    is the accuracy difference to full depth on the same examples: full depth itself may differ on others.
    """
    cascade = costs.cascade(exits)
    fit = PointFit(held.select(exits), cascade, cascade, standard_errors=STANDARD_ERRORS)
    n, unsplit = len(held.labels), costs.unsplit.value
    forecasts = []
    for name, point in fit.within_drops(drops).items():
        assert point.expected is not None
        drop, expected = fit.expected_drops[name], point.expected
        leaving, shares = cascade.leaving(point.thresholds), np.array(expected.exit_shares)
        ratio = expected.mean_macs / unsplit  # in the unit of the costs that the fit was given
        of_examples = float(np.sqrt(shares @ (leaving / unsplit - ratio) ** 2 / n))
        half = _DEVIATIONS * float(np.hypot(of_examples, costs.ratio_deviation(exits, expected.exit_shares, ratio)))
        forecasts.append(
            PointForecast(
                name=name,
                max_accuracy_drop=drops[name],
                accuracy=expected.accuracy,
                accuracy_difference=-drop.points,
                accuracy_difference_ci95=(-drop.ci95[1], -drop.ci95[0]),
                cost=expected.mean_macs,
                ratio=ratio,
                ratio_ci95=(max(0.0, ratio - half), ratio + half),
                exit_shares=expected.exit_shares,
                ratio_all_examples=ratio,
                accuracy_ci95=accuracy_interval(expected.accuracy, n),
            )
        )
    return forecasts


def accuracy_interval(accuracy: float, n: int) -> Interval:
    """Return the 95 % interval of the accuracy on new examples of a classifier with `accuracy` on n: Wilson's."""
    from scipy.stats import binomtest  # slow to load

    interval = binomtest(round(accuracy * n), n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def extrapolate(
    points: Sequence[PointForecast],
    of_half: Sequence[PointForecast],
    doublings: float,
    exits: Sequence[TrialExit],
    costs: ExitCosts,
) -> list[PointForecast]:
    """Return points with the ratios that more training examples are expected to bring.

    The distance of a ratio to its limit is taken to fall with the square root of the number of training examples, as
    estimates do. So each doubling brings 2^-1/2 of the gain of the one before; the last gain that was seen is that from
    half of the examples to all that the trial exits had. Nothing is below the ratio of leaving at the first exit.

    Args:
        points: the points of exits trained on the examples of the trial.
        of_half: the points of the same exits trained on half of them.
        doublings: doublings from the examples of the trial to all training examples.
        exits: the exits.
        costs: their costs.
    """
    least = float(costs.cascade(exits).leaving((0.0,) * len(exits))[0]) / costs.unsplit.value
    return [
        replace(p, ratio_all_examples=extrapolated_ratio(p.ratio, half.ratio, doublings, least))
        for p, half in zip(points, of_half, strict=True)
    ]


def extrapolated_ratio(ratio: float, of_half: float, doublings: float, least: float) -> float:
    """Return the ratio after some doublings of the training examples, at least `least`; see `extrapolate`."""
    further: float = max(0.0, of_half - ratio) * _GAIN * (1 - _GAIN**doublings) / (1 - _GAIN)
    return max(ratio - further, min(least, ratio))


def decide(
    points: Sequence[PointForecast],
    rivals: Sequence[RivalForecast],
    max_accuracy_drop: float,
    held_out_examples: int,
    unknown: Sequence[str],
    alone: Sequence[SizeForecast] = (),
    form: str = EXITS,
    described: str = "",
) -> AdviceVerdict:
    """Return the verdict on several operating points of the same exits.

    It pays where one point is cheaper than the unsplit network, loses at most `max_accuracy_drop`, no rival is at
    least as accurate and at least as cheap, and the network at no smaller size keeps the drop at no higher cost; it
    does not pay where every point breaks one of these. Both are said only where the intervals of 95 % allow no other
    answer, and nothing in `unknown` stands against it.

    Args:
        points: the operating points.
        rivals: static networks.
        max_accuracy_drop: percentage points that may be lost.
        held_out_examples: number of examples behind the forecast.
        unknown: what forbids a firm verdict.
        alone: the network at smaller sizes.
        form: form of early exit.
        described: the form in words, such as ", as a cascade of 128 and 224 px"; empty for exits inside.
    """
    judged = [(point, *_judge(point, rivals, alone, max_accuracy_drop, held_out_examples)) for point in points]
    for point, pays, _ in judged:
        if pays and not unknown:
            return AdviceVerdict(True, point.name, f"Early exit can pay here{described}: {_facts(point)}.", form)
    best, _, reason = min(judged, key=lambda item: item[0].ratio)
    if not unknown and all(pays is False for _, pays, _ in judged):
        text = f"Early exit does not pay here{described}: {reason}. {_facts(best).capitalize()}."
        return AdviceVerdict(False, best.name, text, form)
    open_, _, why = next((item for item in judged if item[1] is None), (best, None, reason))
    doubts = "; ".join(dict.fromkeys([*unknown, *([why] if why else [])]))
    text = f"Cannot tell whether early exit pays here{described}: {doubts}. The forecast: {_facts(open_)}."
    return AdviceVerdict(None, open_.name, text, form)


def _judge(
    f: PointForecast, rivals: Sequence[RivalForecast], alone: Sequence[SizeForecast], limit: float, n: int
) -> tuple[bool | None, str]:
    """Return whether a point pays by its intervals, with the reason if not."""
    low, high = f.accuracy_difference_ci95
    if f.ratio_ci95[0] >= 1 > f.ratio_all_examples:
        return None, f"{f.name} may become cheaper than the unsplit network with all training examples"
    if f.ratio_ci95[0] >= 1:
        return False, f"{f.name} is no cheaper than the unsplit network"
    if -high > limit + _ROUNDING:
        return False, f"{f.name} loses more than {limit:g} points of accuracy"
    for rival in rivals:
        if rival.cost is None or rival.accuracy is None:
            continue
        if rival.cost <= f.cost and rival.accuracy >= f.accuracy - _ROUNDING:
            return False, f"{rival.name} is at least as accurate and at least as cheap"
    cheaper = [one for one in alone if one.cost is not None and one.cost <= f.cost]
    for one in cheaper:
        if -one.accuracy_difference_ci95[0] <= limit + _ROUNDING:
            return False, f"the network at {one.size} px alone is at least as cheap, and loses no more than may be lost"
    if f.ratio_ci95[1] >= 1:
        return None, f"{f.name} may be no cheaper, as its interval reaches {f.ratio_ci95[1]:.2f}"
    for one in cheaper:
        if -one.accuracy_difference_ci95[1] <= limit + _ROUNDING:
            return (
                None,
                f"the network at {one.size} px alone is at least as cheap, and may lose no more than may be lost",
            )
    if -low > limit + _ROUNDING:
        return (
            None,
            f"with {counted(n, 'held-out example')} {f.name} may lose {-low:.1f} points, where {limit:g} may be lost",
        )
    unpriced = [r.name for r in rivals if r.cost is None]
    if unpriced:
        return None, f"the table has no figure for {unpriced[0]}"
    return True, ""


def _facts(f: PointForecast) -> str:
    low, high = f.ratio_ci95
    least, most = f.accuracy_difference_ci95
    more = f", {f.ratio_all_examples:.2f} with all training examples" if f.ratio_all_examples < f.ratio else ""
    return (
        f"{f.name} is expected at {f.ratio:.2f} of the unsplit network's cost ({low:.2f} to {high:.2f}{more}), with "
        f"{f.accuracy_difference:+.2f} points of accuracy ({least:+.2f} to {most:+.2f}), which makes "
        f"{100 * f.accuracy:.1f} %"
    )
