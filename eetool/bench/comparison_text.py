"""Sentences that compare ways, with both intervals."""

from collections.abc import Sequence

from eetool.bench.comparison import Comparison, MeasuredWay, Pair
from eetool.bench.front import estimated_front

_LONGEST = 5  # ways of the front that a sentence compares


def compared(pair: Pair) -> str:
    """Return such as `a is 31 % faster (28 to 34 %) than b, at -0.20 points of accuracy (-0.60 to +0.20)`."""
    return f"{pair.way.name} is {pair.adverb}{_speed(pair)}, at {_accuracy(pair)}"


def front_text(ways: Sequence[MeasuredWay]) -> str:
    """Return the front as a sentence, from its most accurate way to its fastest, each compared with the one before."""
    front = estimated_front(ways)
    first, *rest = front
    start = f"{first.name} ({100 * first.accuracy:.2f} %, {first.latency.mean:.3g} ms)"
    if not rest:
        return f"The front is {start} alone."
    steps = [
        f"{way.name} is {_speed(Comparison(way, before), still=i > 0)}, at {_accuracy(Comparison(way, before))}"
        for i, (before, way) in enumerate(zip(front, rest, strict=False))
    ]
    more = len(steps) - _LONGEST + 1
    shown = [*steps[: _LONGEST - 1], *([f"and {more} more"] if more > 0 else [])]
    return f"The front, most accurate first: {'; '.join([start, *shown])}."


def _speed(pair: Pair, still: bool = False) -> str:
    """Return the latency as what is saved of it, in per cent of the other's mean."""
    low, high = pair.ratio_ci95
    than = "still" if still else f"than {pair.other.name}"
    if high < 1:
        return f"{_less(pair.ratio)} % faster ({_less(high)} to {_less(low)} %) {than}"
    if low > 1:
        return f"{_more(pair.ratio)} % slower ({_more(low)} to {_more(high)} %) {than}"
    return f"not surely faster or slower {than} ({pair.ratio:.2f} of its latency, {low:.2f} to {high:.2f})"


def _accuracy(pair: Pair) -> str:
    if not pair.knows_accuracies:
        return "an accuracy that is not known of both"
    interval = pair.difference_ci95
    bounds = f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval is not None else "as recorded"
    return f"{pair.difference + 0.0:+.2f} points of accuracy ({bounds})"


def _less(ratio: float) -> str:
    return f"{100 * (1 - ratio):.0f}"


def _more(ratio: float) -> str:
    return f"{100 * (ratio - 1):.0f}"
