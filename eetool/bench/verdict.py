"""Verdict on whether early exit pays, does not pay, or cannot be told, with its reasons as a sentence."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from eetool.bench.comparison import Comparison, MeasuredWay
from eetool.bench.comparison_text import compared, front_text
from eetool.bench.intervals import examples_for

_ROUNDING = 1e-9  # percentage points: accuracies are ratios of counts, and equal ones may differ in the last bit
_HEADLINES = {True: "Early exit pays", False: "Early exit does not pay", None: "Cannot tell whether early exit pays"}
_REASONS = 2  # listed in a sentence


@dataclass(frozen=True)
class Verdict:
    """Verdict on early exit, and the reasons as text.

    Attributes:
        pays: None where the measurement does not decide it.
        way: the early-exit way that it is about: the fastest that pays, else the one closest to it.
        against: the fastest way without early exits that keeps, or may keep, the accuracy asked for.
        latency_ratio: mean latency of `way` over that of `against`.
        latency_ratio_ci95: interval of the ratio.
        accuracy_difference: accuracy of `way` less that of `against`, in percentage points.
        accuracy_difference_ci95: interval of the difference; empty in documents of earlier versions.
        text: a few sentences.
    """

    pays: bool | None
    way: str
    against: str
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    accuracy_difference: float
    accuracy_difference_ci95: tuple[float, ...]
    text: str

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        return _HEADLINES[self.pays]


@dataclass(frozen=True)
class _Condition:
    """A condition of the verdict: whether it holds (None: undecided), the reason if not, what would decide it."""

    holds: bool | None
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class _Judgement:
    """An early-exit way with its conditions; `drop` is its loss of accuracy against the reference, in points."""

    way: MeasuredWay
    conditions: Sequence[_Condition]
    drop: float

    @property
    def open(self) -> int:
        """Number of undecided conditions, where none is broken."""
        return 0 if self.pays is False else sum(condition.holds is None for condition in self.conditions)

    @property
    def pays(self) -> bool | None:
        holds = [condition.holds for condition in self.conditions]
        return False if False in holds else None if None in holds else True


def decide_verdict(
    ways: Sequence[MeasuredWay], reference: MeasuredWay, judged: Collection[str], max_accuracy_drop: float
) -> Verdict:
    """Return the verdict on early exit.

    It pays where an early-exit way loses at most `max_accuracy_drop` percentage points against `reference`, and is
    faster than every way without early exits that loses no more. It does not pay where each breaks one of the two.
    Both are said only where the intervals of 95 % allow no other answer.

    Args:
        ways: all that were measured, `reference` among them.
        reference: the network without early exits whose accuracy is asked for.
        judged: names of the early-exit ways that may pay, at least one.
        max_accuracy_drop: percentage points.
    """
    keeps = {way.name: _keeps_accuracy(Comparison(way, reference), max_accuracy_drop) for way in ways}
    static = [way for way in ways if not way.early and keeps[way.name].holds is not False]
    judgements = [
        _Judgement(
            way,
            [keeps[way.name], *(_is_beaten(Comparison(way, other), keeps[other.name]) for other in static)],
            -Comparison(way, reference).difference,
        )
        for way in ways
        if way.name in judged
    ]
    lead = _lead(judgements, max_accuracy_drop)
    against = min(static, key=lambda way: way.latency.mean)
    pair = Comparison(lead.way, against)
    text = f"{_explanation(lead, pair, reference)} {front_text(ways)}"
    return Verdict(
        lead.pays,
        lead.way.name,
        against.name,
        pair.ratio,
        pair.ratio_ci95,
        pair.difference,
        pair.difference_ci95,
        text,
    )


def _lead(judgements: Sequence[_Judgement], limit: float) -> _Judgement:
    """Return the judgement that decides: the fastest that pays, else one that may, else the best of the others.

    Among those that may, it is the one with the fewest open conditions, the fastest of them.
    """
    for outcome in (True, None, False):
        same = [judgement for judgement in judgements if judgement.pays is outcome]
        if same:
            within = [judgement for judgement in same if judgement.drop <= limit + _ROUNDING]
            if within:
                return min(within, key=lambda judgement: (judgement.open, judgement.way.latency.mean))
            return min(same, key=lambda judgement: judgement.drop)
    raise AssertionError("no early-exit way is judged")


def _explanation(lead: _Judgement, pair: Comparison, reference: MeasuredWay) -> str:
    headline, facts = _HEADLINES[lead.pays], compared(pair)
    conditions = [c for c in lead.conditions if c.holds is lead.pays and c.reason]
    reasons = "; ".join(list(dict.fromkeys(c.reason for c in conditions))[:_REASONS])
    if len(conditions) > _REASONS:
        reasons += f"; and {len(conditions) - _REASONS} more"
    if lead.pays:
        text = f"{headline}: {facts}. No way without early exits is faster at the accuracy asked for."
    elif lead.pays is None:
        remedies = "; ".join(dict.fromkeys(c.remedy for c in lead.conditions if c.remedy))
        text = f"{headline}: {reasons}. Here {facts}. What would decide it: {remedies}."
    else:
        text = f"{headline}: {reasons}." + ("" if compared(_reverse(pair)) in reasons else f" Here {facts}.")
    return text if pair.other is reference else f"{text} And {compared(Comparison(lead.way, reference))}."


def _keeps_accuracy(pair: Comparison, limit: float) -> _Condition:
    low, high = pair.difference_ci95
    name, lost = pair.way.name, -pair.difference
    if -low <= limit + _ROUNDING:
        return _Condition(True)
    if -high > limit + _ROUNDING:
        return _Condition(False, f"{name} loses {lost:.2f} points of accuracy, where {limit:g} are allowed")
    reason = f"{name} may lose {-low:.2f} points of accuracy, where {limit:g} are allowed"
    return _Condition(None, reason, _more_examples(pair, abs(limit - lost)))


def _is_beaten(pair: Comparison, keeps: _Condition) -> _Condition:
    """Return whether the other way of `pair` is slower; `keeps` is whether it has the accuracy asked for."""
    low, high = pair.ratio_ci95
    if high < 1:
        return _Condition(True)
    if low < 1:
        remedy = "; ".join(filter(None, (_steadier(pair), keeps.remedy)))
        return _Condition(None, f"{pair.way.name} may be no faster than {pair.other.name}", remedy)
    if keeps.holds:
        return _Condition(False, compared(_reverse(pair)))
    return _Condition(None, f"{pair.other.name} is faster and may keep the accuracy asked for", keeps.remedy)


def _reverse(pair: Comparison) -> Comparison:
    return Comparison(pair.other, pair.way)


def _steadier(pair: Comparison) -> str:
    return {
        "machine": f"more passes than {len(pair.way.latency.pass_ms)}, or a quieter machine",
        "timed sample": "more --min-seconds, to time more of the examples",
        "inputs": f"more examples than {len(pair.way.right)}",
    }[pair.largest_uncertainty]


def _more_examples(pair: Comparison, margin: float) -> str:
    n = len(pair.way.right)
    needed = examples_for(pair.way.right, pair.other.right, margin)
    return (
        f"about {_two_digits(needed)} examples instead of {n}"
        if math.isfinite(needed)
        else f"far more than {n} examples"
    )


def _two_digits(count: float) -> int:
    """Return a count rounded up to two significant digits."""
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step) * step
