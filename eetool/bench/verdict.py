"""Verdict on whether early exit pays, does not pay, or cannot be told, with its reasons as a sentence."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from eetool.bench.comparison import Comparison, MeasuredWay, Pair, Remedy, Way
from eetool.bench.comparison_text import compared, front_text

_ROUNDING = 1e-9  # percentage points: accuracies are ratios of counts, and equal ones may differ in the last bit
_HEADLINES = {True: "Early exit pays", False: "Early exit does not pay", None: "Cannot tell whether early exit pays"}
_STEADY = "a quieter machine, or more passes"
_SAME_DATA = "examples with the classes, their order and the pixels that it was trained on"
_REASONS = 2  # listed in a sentence
AnyWay = TypeVar("AnyWay", bound=Way)


@dataclass(frozen=True)
class Verdict:
    """Verdict on early exit, and the reasons as text.

    Attributes:
        pays: None where the measurement does not decide it.
        way: the early-exit way that it is about: the fastest that pays, else the one closest to it.
        against: the fastest way without early exits that keeps, or may keep, the accuracy asked for.
        latency_ratio: mean latency of `way` over that of `against`.
        latency_ratio_ci95: interval of the ratio.
        accuracy_difference: accuracy of `way` less that of `against`, in percentage points; null where it is not known.
        accuracy_difference_ci95: interval of the difference; empty where the accuracies are not of the same inputs, and
            in documents of earlier versions.
        text: a few sentences.
        remedies: what would decide it, where `pays` is None; empty in documents of earlier versions.
    """

    pays: bool | None
    way: str
    against: str
    latency_ratio: float
    latency_ratio_ci95: tuple[float, ...]
    accuracy_difference: float | None
    accuracy_difference_ci95: tuple[float, ...]
    text: str
    remedies: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        return _HEADLINES[self.pays]


@dataclass(frozen=True)
class _Condition:
    """A condition of the verdict: whether it holds (None: undecided), the reason if not, and what would decide it."""

    holds: bool | None
    reason: str = ""
    remedies: tuple[Remedy, ...] = ()


@dataclass(frozen=True)
class _Judgement:
    """An early-exit way with its conditions; `drop` is its loss of accuracy against the reference, in points."""

    way: Way
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
    """Return the verdict on measured ways, with their front; see `judge`."""
    verdict = judge(ways, reference, judged, max_accuracy_drop, Comparison)
    return replace(verdict, text=f"{verdict.text} {front_text(ways)}")


def distrust_times(verdict: Verdict, reasons: Sequence[str]) -> Verdict:
    """Return the verdict on times that cannot be trusted: it cannot be told, whatever they seem to say."""
    return _undecided(verdict, f"the measurement is unstable: {'; '.join(reasons)}", "These times", _STEADY)


def distrust_accuracies(verdict: Verdict, reference: MeasuredWay) -> Verdict:
    """Return the verdict where the network without early exits is at chance: it cannot be told."""
    reason = f"{reference.name} is right for {reference.accuracy:.1%} of the examples, no more than by naming one class"
    return _undecided(verdict, reason, "These answers", _SAME_DATA)


def _undecided(verdict: Verdict, reason: str, what: str, remedy: str) -> Verdict:
    rest = verdict.text.removeprefix(f"{verdict.headline}: ")
    seems = {True: f"{what} alone say that it pays: ", False: f"{what} alone say that it does not: ", None: ""}
    text = f"{_HEADLINES[None]}: {reason}. {seems[verdict.pays]}"
    text += rest if seems[verdict.pays] else rest[:1].upper() + rest[1:]
    return replace(verdict, pays=None, text=text, remedies=(remedy, *verdict.remedies))


def judge(
    ways: Sequence[AnyWay],
    reference: AnyWay,
    judged: Collection[str],
    max_accuracy_drop: float,
    compare: Callable[[AnyWay, AnyWay], Pair],
    where: str = "",
) -> Verdict:
    """Return the verdict on early exit.

    It pays where an early-exit way loses at most `max_accuracy_drop` percentage points against `reference`, and is
    faster than every way without early exits that loses no more. It does not pay where each breaks one of the two.
    Both are said only where the intervals of 95 % allow no other answer.

    Args:
        ways: all of them, `reference` among them.
        reference: the network without early exits whose accuracy is asked for.
        judged: names of the early-exit ways that may pay, at least one.
        max_accuracy_drop: percentage points.
        compare: compares the first way with the second.
        where: device of the verdict, such as ` on rpi4`.
    """
    keeps = {way.name: _keeps_accuracy(compare(way, reference), max_accuracy_drop) for way in ways}
    static = [way for way in ways if not way.early and keeps[way.name].holds is not False]
    judgements = [
        _Judgement(
            way,
            [keeps[way.name], *(_is_beaten(compare(way, other), keeps[other.name]) for other in static)],
            -compare(way, reference).difference,
        )
        for way in ways
        if way.name in judged
    ]
    lead = _lead(judgements, max_accuracy_drop)
    leading = next(way for way in ways if way.name == lead.way.name)
    against = min(static, key=lambda way: way.mean_ms)
    remedies = _remedies(lead) if lead.pays is None else ()
    pair = compare(leading, against)
    to_reference = None if against is reference else compare(leading, reference)
    return Verdict(
        lead.pays,
        leading.name,
        against.name,
        pair.ratio,
        pair.ratio_ci95,
        pair.difference if pair.knows_accuracies else None,
        pair.difference_ci95 or (),
        _explanation(lead, pair, to_reference, where, remedies),
        remedies,
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
                return min(within, key=lambda judgement: (judgement.open, judgement.way.mean_ms))
            return min(same, key=lambda judgement: judgement.drop)
    raise AssertionError("no early-exit way is judged")


def _remedies(lead: _Judgement) -> tuple[str, ...]:
    """Return what would decide a judgement: every remedy once, and of several counts of examples the largest."""
    remedies = [remedy for condition in lead.conditions for remedy in condition.remedies]
    largest = max(remedies, key=lambda remedy: remedy.examples, default=None)
    return tuple(dict.fromkeys(r.text for r in remedies if not r.examples or r is largest))


def _explanation(lead: _Judgement, pair: Pair, to_reference: Pair | None, where: str, remedies: Sequence[str]) -> str:
    headline, facts = _HEADLINES[lead.pays] + where, compared(pair)
    conditions = [c for c in lead.conditions if c.holds is lead.pays and c.reason]
    reasons = "; ".join(list(dict.fromkeys(c.reason for c in conditions))[:_REASONS])
    if len(conditions) > _REASONS:
        reasons += f"; and {len(conditions) - _REASONS} more"
    if lead.pays:
        text = f"{headline}: {facts}. No way without early exits is faster at the accuracy asked for."
    elif lead.pays is None:
        text = f"{headline}: {reasons}. Here {facts}. What would decide it: {'; '.join(remedies)}."
    else:
        text = f"{headline}: {reasons}." + ("" if compared(pair.reverse()) in reasons else f" Here {facts}.")
    return text if to_reference is None else f"{text} And {compared(to_reference)}."


def _keeps_accuracy(pair: Pair, limit: float) -> _Condition:
    if not pair.knows_accuracies:
        return _Condition(None, f"the accuracy of {pair.way.name} is not known", (pair.more_examples(limit),))
    if pair.difference_ci95 is None:
        reason = f"the accuracies of {pair.way.name} and {pair.other.name} are recorded without an interval"
        return _Condition(None, reason, (pair.more_examples(limit),))
    low, high = pair.difference_ci95
    name, lost = pair.way.name, -pair.difference
    if -low <= limit + _ROUNDING:
        return _Condition(True)
    if -high > limit + _ROUNDING:
        return _Condition(False, f"{name} loses {lost:.2f} points of accuracy, where {limit:g} may be lost")
    reason = f"{name} may lose {-low:.2f} points of accuracy, where {limit:g} may be lost"
    return _Condition(None, reason, (pair.more_examples(abs(limit - lost)),))


def _is_beaten(pair: Pair, keeps: _Condition) -> _Condition:
    """Return whether the other way of `pair` is slower; `keeps` is whether it has the accuracy asked for."""
    low, high = pair.ratio_ci95
    if high < 1:
        return _Condition(True)
    if low < 1:
        reason = f"{pair.way.name} may be no faster than {pair.other.name}"
        return _Condition(None, reason, (pair.steadier(), *keeps.remedies))
    if keeps.holds:
        return _Condition(False, compared(pair.reverse()))
    return _Condition(None, f"{pair.other.name} is faster and may keep the accuracy asked for", keeps.remedies)
