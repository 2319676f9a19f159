"""Verdict on a stream policy: latency, accuracy and reaction time together."""

from collections.abc import Sequence
from dataclasses import dataclass

from eetool.accuracy_difference import Interval

_HEADLINES = {
    True: "The stream policy pays",
    False: "The stream policy does not pay",
    None: "Cannot tell whether the stream policy pays",
}
_ROUNDING = 1e-9


@dataclass(frozen=True)
class StreamClaim:
    """Figures of a way that the verdict uses.

    Attributes:
        name: of the way.
        ratio: mean latency / that of full depth with an answer per frame.
        ratio_ci95: its interval.
        difference: accuracy less that of full depth, in percentage points.
        difference_ci95: its interval, by groups.
        reaction_p95_s: of the reaction; null where no class changes.
        groups: number of groups of the frames. One alone says nothing of others, so accuracy has no interval then.
    """

    name: str
    ratio: float
    ratio_ci95: Interval
    difference: float
    difference_ci95: Interval
    reaction_p95_s: float | None
    groups: int


@dataclass(frozen=True)
class StreamVerdict:
    """Verdict on the streams of a bundle.

    Attributes:
        pays: null where the measurement does not decide it.
        way: the stream policy that it is about.
        faster: other ways that keep accuracy and reaction, and are faster.
        text: a few sentences.
    """

    pays: bool | None
    way: str
    faster: tuple[str, ...]
    text: str


def judge_streams(
    judged: Sequence[StreamClaim], others: Sequence[StreamClaim], max_accuracy_drop: float, max_reaction_s: float
) -> StreamVerdict:
    """Return the verdict on the best stream policy.

    It pays where it is faster than full depth with an answer per frame, loses at most `max_accuracy_drop` points, and
    reacts in time. Accuracy and latency are judged by their intervals, the reaction by its 95th percentile.

    Args:
        judged: stream policies, one at least.
        others: other ways.
        max_accuracy_drop: percentage points.
        max_reaction_s: seconds.
    """

    def rank(claim: StreamClaim) -> tuple[int, bool, float]:
        pays = _pays(claim, max_accuracy_drop, max_reaction_s)
        return (
            (0 if pays else 1 if pays is None else 2),
            not _keeps(claim, max_accuracy_drop, max_reaction_s),
            claim.ratio,
        )

    lead = min(judged, key=rank)
    pays = _pays(lead, max_accuracy_drop, max_reaction_s)
    faster = tuple(o.name for o in others if o.ratio < lead.ratio and _keeps(o, max_accuracy_drop, max_reaction_s))
    reasons = _reasons(lead, max_accuracy_drop, max_reaction_s)
    text = f"{_HEADLINES[pays]}: {facts(lead)}"
    text += f" (asked: {max_reaction_s:g} s, and at most {max_accuracy_drop:g} points lost)."
    if reasons:
        text += f" {'; '.join(reasons)}."
    text += (
        f" Faster at these limits: {', '.join(faster)}."
        if faster
        else " No other way that keeps these limits here is faster."
    )
    return StreamVerdict(pays, lead.name, faster, text)


def facts(claim: StreamClaim) -> str:
    """Return latency, accuracy and reaction of a way in words."""
    low, high = claim.ratio_ci95
    worst, best = claim.difference_ci95
    text = (
        f"{claim.name} takes {claim.ratio:.2f} ({low:.2f}–{high:.2f}) of the latency of full depth per frame, with "
        f"{claim.difference:+.2f}{f' ({worst:+.2f} … {best:+.2f})' if claim.groups > 1 else ''} points of accuracy"
    )
    if claim.reaction_p95_s is None:
        return f"{text}; no class changes, so its reaction is not known"
    return f"{text}, and follows 95 % of the changes within {claim.reaction_p95_s:.3g} s"


def _keeps(claim: StreamClaim, max_accuracy_drop: float, max_reaction_s: float) -> bool:
    late = claim.reaction_p95_s is not None and claim.reaction_p95_s > max_reaction_s + _ROUNDING
    return not late and -claim.difference <= max_accuracy_drop + _ROUNDING


def _pays(claim: StreamClaim, max_accuracy_drop: float, max_reaction_s: float) -> bool | None:
    worst, best = claim.difference_ci95
    low, high = claim.ratio_ci95
    if claim.reaction_p95_s is None:
        return None
    if low >= 1 or -best > max_accuracy_drop + _ROUNDING or claim.reaction_p95_s > max_reaction_s + _ROUNDING:
        return False
    return True if high < 1 and -worst <= max_accuracy_drop + _ROUNDING and claim.groups > 1 else None


def _reasons(claim: StreamClaim, max_accuracy_drop: float, max_reaction_s: float) -> list[str]:
    worst, best = claim.difference_ci95
    low, high = claim.ratio_ci95
    reasons = []
    if claim.reaction_p95_s is not None and claim.reaction_p95_s > max_reaction_s + _ROUNDING:
        reasons.append("It reacts too late")
    if -best > max_accuracy_drop + _ROUNDING:
        reasons.append("It loses too much accuracy")
    elif -worst > max_accuracy_drop + _ROUNDING:
        reasons.append(f"It may lose {-worst:.2f} points: more groups would tell")
    elif claim.groups < 2:
        reasons.append("These are frames of one group: others may differ, and more groups would tell")
    if low >= 1:
        reasons.append("It is no faster")
    elif high >= 1:
        reasons.append("It may be no faster: more passes on a quieter machine would tell")
    return reasons
